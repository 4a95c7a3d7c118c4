"""The plugin executable ``k8s-ipam``: hands the call on, prints what comes back, decides nothing.

A runtime waits for this process, and interpreter start is its whole cost: 6–8 ms with ``_socket``, twice
that with ``json`` and ``socket``. So it imports C modules only, and stays small, since ``install-cni`` makes
it one file whose text is compiled at each start (no ``__future__``, no dataclass, no ``os``).
"""

import _signal  # type: ignore[import-not-found]  # `signal` alone, as typeshed knows it, costs an enum
import _socket
import posix
import sys

from cni.wire import WireError, frame, parse_response, read_frame, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SOCKET = "/run/ipam-ledger/agent.sock"
PYTHON = sys.executable  # with this package, for agentless mode; "" = there is none; install-cni writes it in
RELEASE = ""  # for --version; install-cni writes it in
PATIENCE = 60.0  # seconds for the whole call; kubelet gives a sandbox two minutes
GLANCE = 1.0  # seconds that VERSION waits for its input, which it could do without
MAX_STDIN = 1 << 20
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEEDS = {  # SPEC section 3, here so that the plainest mistakes are named without an agent too; agrees with cni.spec
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
HELP = """\
k8s-ipam is a CNI IPAM plugin: a container runtime or a main plugin (bridge, macvlan, ptp, …) executes
it, with CNI_COMMAND and the other CNI_* variables in the environment and the network configuration
on stdin. It asks the node's agent (`ipam-ledger agent`) at %s,
or at the `socket` of the configuration's `ipam` section; with `ledger` there, it writes that database itself.

  {"cniVersion": "1.0.0", "name": "podnet", "type": "bridge", "bridge": "cni0",
   "ipam": {"type": "k8s-ipam", "ipPoolName": "ippool"}}

By hand:  echo '{"cniVersion": "1.1.0"}' | CNI_COMMAND=VERSION k8s-ipam
CNI versions: %s
"""


class Refusal(Exception):
    """What the plugin answers itself: code, message."""


class TooLate(BaseException):
    """PATIENCE ran out."""


def main() -> "NoReturn":
    if len(sys.argv) > 1 and not posix.environ.get(b"CNI_COMMAND"):
        by_hand(sys.argv[1])
    command = posix.environ.get(b"CNI_COMMAND", b"").decode("utf-8", "replace")
    asked = [VERSIONS[-1]]
    try:
        status, out = call(command, asked)
    except Refusal as e:
        status, out = 1, error(asked[0], *e.args)
    except TooLate:
        status, out = 1, error(asked[0], unready(command), f"no answer within {PATIENCE:g} s")
    except Exception as e:
        status, out = 1, error(asked[0], 199, f"k8s-ipam: {type(e).__name__}: {e}")
    try:
        write(1, out)
    except (OSError, TooLate):  # nobody reads any more, or too slowly
        status = 1
    posix._exit(status)  # skips the interpreter's own tidying up: half a millisecond


def call(command: str, asked: "list[str]") -> tuple[int, bytes]:
    """The exit status and what to print. Puts the cniVersion of the input in ``asked[0]``, for errors."""
    _signal.signal(_signal.SIGALRM, alarm)
    if not command:
        if posix.isatty(0):
            by_hand("--help")
        raise Refusal(4, "required env variables [CNI_COMMAND] missing")
    if command not in NEEDS:
        raise Refusal(4, f"unknown CNI_COMMAND: {command}")
    missing = [name for name in NEEDS[command] if not posix.environ.get(name.encode())]
    if missing:
        raise Refusal(4, f"required env variables [{','.join(missing)}] missing")
    if command == "VERSION":
        return 0, version()
    _signal.setitimer(_signal.ITIMER_REAL, PATIENCE)
    stdin = read_stdin()
    conf = parse(stdin)
    if conf.get("cniVersion") in VERSIONS:
        asked[0] = conf["cniVersion"]
    ipam = conf.get("ipam", conf)  # listed directly in `plugins`, the keys stand at the top
    try:
        ledger, socket = ipam.get("ledger") or "", ipam.get("socket") or ""
        ledger + socket + ""
    except (AttributeError, TypeError):
        if command != "DEL":  # which may not fail for a configuration that no ADD can have had
            raise Refusal(6, "ipam: must be an object, with `ledger` and `socket` strings") from None
        ledger = socket = ""
    if ledger:
        agentless(stdin)
    return ask(command, socket or SOCKET, stdin)


def ask(command: str, path: str, stdin: bytes) -> tuple[int, bytes]:
    """One exchange with the agent."""
    try:
        body = frame(request(posix.environ.items(), stdin))
    except WireError as e:
        raise Refusal(6, f"stdin and environment: {e}") from None
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Refusal(unready(command), f"no agent at {path}; is `ipam-ledger agent` running?") from None
    except PermissionError:
        raise Refusal(unready(command), f"no permission to use the agent's socket {path}") from None
    except (OSError, ValueError) as e:
        raise Refusal(7, f"ipam.socket: {path!r} is no unix socket: {e}") from None
    try:
        try:
            sock.sendall(body)
        except BrokenPipeError:  # an agent that refuses a request may answer before it has read all of it
            pass
        answer, _ = read_frame(sock.recv)
        if answer is None:
            raise WireError("the connection ended before the answer")
        return parse_response(answer)
    except (OSError, WireError) as e:
        raise Refusal(unready(command), f"the agent at {path} did not answer: {e}") from None


def agentless(stdin: bytes) -> "NoReturn":
    """Become the full interpreter, which writes the ledger itself; the input goes along in memory."""
    if not PYTHON:
        raise Refusal(
            7,
            "ipam.ledger: this plugin was installed for a node's agent; leave `ledger` out of the configuration",
        )
    fd = posix.memfd_create("stdin")  # which ends here, or it would be the stdout that is closed
    write(fd, stdin)
    posix.lseek(fd, 0, 0)
    posix.dup2(fd, 0)
    try:
        posix.execve(PYTHON, [PYTHON, "-I", "-m", "cni.agentless"], posix.environ)
    except OSError as e:
        raise Refusal(
            199, f"agentless mode needs {PYTHON}: {e.strerror}; run `ipam-ledger install-cni` again"
        ) from None


def version() -> bytes:
    """The answer to VERSION (SPEC section 3): in the version of the input, if that is one of ours."""
    asked = VERSIONS[-1]
    _signal.setitimer(_signal.ITIMER_REAL, GLANCE)
    try:
        if not posix.isatty(0):
            named = parse(read_stdin()).get("cniVersion")
            asked = named if named in VERSIONS else asked
    except (Refusal, TooLate):  # as the reference plugins, which do not even look
        pass
    _signal.setitimer(_signal.ITIMER_REAL, 0)
    supported = ", ".join(f'"{v}"' for v in VERSIONS)
    return f'{{"cniVersion": "{asked}", "supportedVersions": [{supported}]}}\n'.encode()


def read_stdin() -> bytes:
    data = b""
    try:
        while more := posix.read(0, 65536):
            data += more
            if len(data) > MAX_STDIN:
                raise Refusal(6, f"stdin is too large (more than {MAX_STDIN} bytes)")
    except OSError as e:
        raise Refusal(6, f"stdin cannot be read: {e.strerror}") from None
    return data


def parse(stdin: bytes) -> "dict[str, Any]":
    """The network configuration as an object; the agent looks at it more closely."""
    if not stdin.strip():
        raise Refusal(6, "stdin is not JSON: it is empty")
    try:
        conf = load(stdin.decode().strip(" \t\n\r"))
    except RecursionError:
        raise Refusal(6, "stdin is not JSON for us: nested too deeply") from None
    except ValueError as e:
        raise Refusal(6, f"stdin is not JSON: {e}") from None
    if not isinstance(conf, dict):
        raise Refusal(6, "stdin: the network configuration must be an object")
    return conf


def load(text: str) -> "Any":
    """``json.loads``; what is JSON, by its C scanner alone, for the package around it costs 6 ms."""

    class Context:  # the attributes that the scanner reads
        strict = True
        object_hook = object_pairs_hook = array_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    try:
        from _json import make_scanner

        conf, end = make_scanner(Context)(text, 0)  # type: ignore[arg-type]  # typeshed asks for the result's type
        if end != len(text):
            raise ValueError
    except Exception:  # no JSON, or no such scanner in this interpreter: the package knows
        import json

        return json.loads(text)
    return conf


def error(asked: str, code: int, message: str) -> bytes:
    """The SPEC's error object, in ASCII."""
    text = ""
    for c in message:
        if c in '"\\':
            text += "\\" + c
        elif " " <= c <= "~":
            text += c
        else:
            units = c.encode("utf-16-be", "surrogatepass")
            text += "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
    return f'{{"cniVersion": "{asked}", "code": {code}, "msg": "{text}"}}\n'.encode()


def unready(command: str) -> int:
    """STATUS has its own word for "not available" (50), the others say "try again later" (11)."""
    return 50 if command == "STATUS" else 11


def write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def alarm(*_: "Any") -> "NoReturn":
    raise TooLate


def by_hand(flag: str) -> "NoReturn":
    """Somebody runs it in a shell."""
    if flag in ("--version", "-V"):
        write(1, f"k8s-ipam {release()} (CNI {', '.join(VERSIONS)})\n".encode())
    else:
        write(1, (HELP % (SOCKET, ", ".join(VERSIONS))).encode())
    posix._exit(0 if flag in ("--version", "-V", "--help", "-h") else 2)


def release() -> str:
    if RELEASE:
        return RELEASE
    from importlib.metadata import version

    return version("ipam-ledger")


if __name__ == "__main__":
    main()
