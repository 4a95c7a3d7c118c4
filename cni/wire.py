"""The socket protocol between the plugin and the agent: a frame each way, as often as the client likes.

::

    frame     4 bytes length, big-endian · that many bytes of body (at most ``MAX_FRAME``)
    request   "ipam-ledger/1" NUL · KEY=VALUE NUL for each CNI_* variable · NUL · stdin as it came
    response  1 byte exit status · what the plugin prints on stdout

Imports nothing, not even ``__future__``: its text is part of the plugin executable, compiled at each start.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TAG = b"ipam-ledger/1"
MAX_FRAME = 1 << 20


class WireError(Exception):
    """The other side does not speak this protocol, or stopped in mid-frame."""


def frame(body: bytes) -> bytes:
    """Body with its length before it. Raises WireError above ``MAX_FRAME``."""
    if len(body) > MAX_FRAME:
        raise WireError(f"{len(body)} bytes are too large (at most {MAX_FRAME})")
    return len(body).to_bytes(4, "big") + body


def read_frame(recv: "Callable[[int], bytes]", rest: bytes = b"") -> tuple[bytes | None, bytes]:
    """The next body, and what was received after it (hand it in as ``rest`` the next time).

    The body is None when the other side closed between two frames. ``recv`` is a socket's.
    """
    while True:
        body, rest = split(rest)
        if body is not None:
            return body, rest
        more = recv(65536)
        if not more:
            if rest:
                raise WireError("the connection ended in mid-frame")
            return None, b""
        rest += more


def split(received: bytes) -> tuple[bytes | None, bytes]:
    """The first body in what was received, and the rest; None while it is not there whole."""
    if len(received) < 4:
        return None, received
    need = 4 + int.from_bytes(received[:4], "big")
    if need > 4 + MAX_FRAME:
        raise WireError(f"a frame of {need - 4} bytes is too large (at most {MAX_FRAME})")
    if len(received) < need:
        return None, received
    return received[4:need], received[need:]


def request(env: "Iterable[tuple[bytes, bytes]]", stdin: bytes) -> bytes:
    """The body that asks: the CNI_* entries of ``env``, then ``stdin``."""
    entries = [TAG, *(b"%s=%s" % (k, v) for k, v in env if k.startswith(b"CNI_")), b"", stdin]
    return b"\0".join(entries)


def parse_request(body: bytes) -> tuple[dict[str, str], bytes]:
    """The inverse of ``request``; text that is not UTF-8 keeps its bytes as surrogates (PEP 383)."""
    tag, _, rest = body.partition(b"\0")
    if tag != TAG:
        if tag.startswith(b"ipam-ledger/") and len(tag) < 32:
            raise WireError(
                f"the plugin speaks {tag.decode('ascii', 'replace')}, this agent {TAG.decode()};"
                " run `ipam-ledger install-cni` again"
            )
        raise WireError("this is no request of k8s-ipam")
    env: dict[str, str] = {}
    while True:
        entry, nul, rest = rest.partition(b"\0")
        if not nul:
            raise WireError("the request ends before its stdin")
        if not entry:
            return env, rest
        key, eq, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if not eq or not key.startswith("CNI_"):
            raise WireError("the request holds an entry that is no CNI variable")
        env[key] = value


def response(status: int, stdout: bytes) -> bytes:
    """The body that answers; ``status`` 0–255."""
    return bytes((status,)) + stdout


def parse_response(body: bytes) -> tuple[int, bytes]:
    """The inverse of ``response``."""
    if not body:
        raise WireError("the answer is empty")
    return body[0], body[1:]
