"""The plugin executable, executed: it forwards what it got, prints what it got back, and says itself what went wrong."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni import wire
from cni.install import base_interpreter
from cni.spec import VERSIONS
from tests.cni.conftest import altered
from tests.cni.test_spec_configuration import BROKEN
from tests.servers.agent import Answer, cni_env, k8s_ipam

Serve = Callable[[socket.socket], None]


@pytest.fixture
def peer(short: Path) -> Iterator[Callable[[Serve], str]]:
    """``peer(serve)`` → the path of a socket whose first connection ``serve`` gets."""
    threads = []

    def start(serve: Serve) -> str:
        listener = socket.socket(socket.AF_UNIX)
        path = str(short / "s")
        listener.bind(path)
        listener.listen()

        def run() -> None:
            with listener, contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        threads.append(Thread(target=run))
        threads[-1].start()
        return path

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def conf(path: str | Path, version: str = "1.0.0") -> str:
    return json.dumps({"cniVersion": version, "name": "n", "ipam": {"ipPoolName": "p", "socket": str(path)}})


def code(answer: Answer) -> int:
    """Of an error in the SPEC's shape, with nothing on stderr."""
    assert answer.code == 1
    assert answer.stderr == ""
    assert {"cniVersion", "code", "msg"} <= set(answer.json) <= {"cniVersion", "code", "msg", "details"}
    assert answer.json["cniVersion"] in VERSIONS
    return int(answer.json["code"])


def test_bytes_go_through_as_they_are(plugin: str, peer: Callable[[Serve], str]) -> None:
    got = []

    def serve(connection: socket.socket) -> None:
        body, _ = wire.read_frame(connection.recv)
        got.append(wire.parse_request(body or b""))
        connection.sendall(wire.frame(wire.response(3, b'{"any":\n "thing"}')))

    stdin = conf(peer(serve)).replace(",", " ,\t").encode() + b"\n\n"
    env = {**cni_env("ADD"), "CNI_ARGS": "X=ä;Y=\udcff", "OTHER": "1"}
    done = subprocess.run([plugin], env=env, input=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b'{"any":\n "thing"}', b"")
    del env["OTHER"]
    assert got == [(env, stdin)]


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_answered_without_an_agent(plugin: str, version: str) -> None:
    answer = k8s_ipam({"CNI_COMMAND": "VERSION"}, {"cniVersion": version}, program=plugin)
    assert answer == Answer(0, {"cniVersion": version, "supportedVersions": list(VERSIONS)}, "")


@pytest.mark.parametrize("stdin", ["", "garbage", "[]", '{"cniVersion": "7.0.0"}', '{"cniVersion": 1}'])
def test_version_is_answered_whatever_the_input(plugin: str, stdin: str) -> None:
    answer = k8s_ipam({"CNI_COMMAND": "VERSION"}, stdin, program=plugin)
    assert answer == Answer(0, {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}, "")


def test_version_does_not_wait_for_an_input_that_never_comes(plugin: str) -> None:
    with subprocess.Popen(
        [plugin], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["cniVersion"] == "1.1.0"
        assert process.wait(30) == 0


@pytest.mark.parametrize("stdin", [b"", b'{"cniVersion": "1.0.0"}'])
def test_it_imports_next_to_nothing(plugin: str, stdin: bytes) -> None:
    """Its start is its cost: what the bare interpreter has, and three C modules."""

    def imported(*argv: str) -> set[str]:
        done = subprocess.run(
            [base_interpreter(), "-X", "importtime", "-IS", *argv],
            env={"CNI_COMMAND": "VERSION"}, input=stdin, capture_output=True, check=True,
        )  # fmt: skip
        return set(re.findall(r"\| +(\S+)$", done.stderr.decode(), re.M))

    assert imported(plugin) - imported("-c", "pass") <= {"_socket", "_signal", "_json"}


def test_no_agent_is_try_again_later(plugin: str, short: Path) -> None:
    stdin = conf(short / "nobody", "0.4.0")
    for verb, wanted in (("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)):
        answer = k8s_ipam(cni_env(verb), stdin, program=plugin)
        assert (code(answer), answer.json["cniVersion"]) == (wanted, "0.4.0")
        assert answer.json["msg"] == f"no agent at {short / 'nobody'}; is `ipam-ledger agent` running?"


def test_a_socket_that_a_dead_agent_left_is_no_agent(plugin: str, short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short / "s"))
    answer = k8s_ipam(cni_env("ADD"), conf(short / "s"), program=plugin)
    assert code(answer) == 11


@pytest.mark.parametrize("path", ["/x" * 100, "/proc/self/stat/s"])
def test_a_socket_that_cannot_be_one_is_invalid(plugin: str, path: str) -> None:
    answer = k8s_ipam(cni_env("ADD"), conf(path), program=plugin)
    assert code(answer) == 7
    assert "ipam.socket" in answer.json["msg"]


@pytest.mark.parametrize(
    "what", [what for what in BROKEN if what not in ("NaN", "Infinity") and "twice" not in what]
)
def test_broken_input_is_named_without_an_agent(plugin: str, what: str) -> None:
    """What is JSON to a lenient reader is left to the agent."""
    assert code(k8s_ipam(cni_env("ADD"), BROKEN[what], program=plugin)) == 6


@pytest.mark.parametrize(
    "stdin",
    [
        '{"ipam": 1}',
        '{"ipam": []}',
        '{"ipam": {"socket": 1}}',
        '{"ipam": {"ledger": ["x"]}}',
    ],
)
def test_a_section_that_cannot_be_read_stops_all_but_del(plugin: str, stdin: str) -> None:
    assert code(k8s_ipam(cni_env("ADD"), stdin, program=plugin)) == 6
    answer = k8s_ipam(cni_env("DEL"), stdin, program=plugin)
    assert (code(answer), answer.json["msg"][:40]) == (11, "no agent at /run/ipam-ledger/agent.sock;")


@pytest.mark.parametrize(
    ("env", "msg"),
    [
        ({}, "required env variables [CNI_COMMAND] missing"),
        ({"CNI_COMMAND": ""}, "required env variables [CNI_COMMAND] missing"),
        ({"CNI_COMMAND": "NO\n\x07"}, "unknown CNI_COMMAND: NO\n\x07"),
        ({"CNI_COMMAND": "ADD"}, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"),
        ({"CNI_COMMAND": "DEL", "CNI_IFNAME": "e"}, "required env variables [CNI_CONTAINERID] missing"),
    ],
)
def test_a_poor_environment_is_named(plugin: str, env: dict[str, str], msg: str) -> None:
    answer = k8s_ipam(env, "{}", program=plugin)
    assert (code(answer), answer.json["msg"]) == (4, msg)


def test_an_environment_that_no_frame_can_hold_is_refused(plugin: str, short: Path) -> None:
    env = {**cni_env("ADD"), **{f"CNI_X{i}": "x" * 100_000 for i in range(12)}}
    answer = k8s_ipam(env, conf(short / "s"), program=plugin)
    assert (code(answer), "too large" in answer.json["msg"]) == (6, True)


ANSWER = wire.frame(wire.response(0, b'{"ips": []}'))


@pytest.mark.parametrize(
    "sent",
    [b"", ANSWER[:2], ANSWER[:-1], b"\xff" * 10, b"\0\0\0\0", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["nothing", "half a length", "half an answer", "too long", "an empty frame", "HTTP"],
)
@pytest.mark.parametrize("reads", [True, False])
def test_an_agent_that_dies_in_mid_answer(
    plugin: str, peer: Callable[[Serve], str], sent: bytes, reads: bool
) -> None:
    def serve(connection: socket.socket) -> None:
        if reads:
            wire.read_frame(connection.recv)
        connection.sendall(sent)

    answer = k8s_ipam(cni_env("ADD"), conf(peer(serve)), program=plugin)
    assert code(answer) == 11
    assert "did not answer" in answer.json["msg"]


def test_an_answer_that_dribbles_is_put_together(plugin: str, peer: Callable[[Serve], str]) -> None:
    def serve(connection: socket.socket) -> None:
        wire.read_frame(connection.recv)
        for byte in ANSWER:
            connection.sendall(bytes((byte,)))
            time.sleep(0.001)

    answer = k8s_ipam(cni_env("ADD"), conf(peer(serve)), program=plugin)
    assert answer == Answer(0, {"ips": []}, "")


def until_it_leaves(connection: socket.socket) -> None:
    """Take what it says, and never say a word."""
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("verb", ["ADD", "STATUS"])
def test_an_agent_that_never_answers(
    plugin: str, peer: Callable[[Serve], str], tmp_path: Path, verb: str
) -> None:
    hasty = altered(plugin, tmp_path / "k8s-ipam", r"PATIENCE = 60\.0.*", "PATIENCE = 0.3")
    path = peer(until_it_leaves)
    answer = k8s_ipam(cni_env(verb), conf(path), program=hasty)
    assert (code(answer), answer.json["msg"]) == (50 if verb == "STATUS" else 11, "no answer within 0.3 s")


def test_a_runtime_that_went_away_gets_no_traceback(plugin: str, short: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [plugin], env=cni_env("ADD"), input=b"{}", stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_runtime_that_does_not_read_gets_no_traceback(
    plugin: str, peer: Callable[[Serve], str], tmp_path: Path
) -> None:
    """What is said is more than a pipe holds."""

    def serve(connection: socket.socket) -> None:
        wire.read_frame(connection.recv)
        connection.sendall(wire.frame(wire.response(0, b" " * 500_000)))
        until_it_leaves(connection)

    hasty = altered(plugin, tmp_path / "k8s-ipam", r"PATIENCE = 60\.0.*", "PATIENCE = 1.0")
    pipe = subprocess.PIPE
    with subprocess.Popen([hasty], env=cni_env("ADD"), stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(conf(peer(serve)).encode())
        process.stdin.close()
        assert (process.wait(30), process.stderr.read()) == (1, b"")


def test_input_may_be_closed(plugin: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec '{plugin}' <&-"], env=cni_env("ADD"), capture_output=True, check=False
    )
    assert json.loads(done.stdout)["code"] == 6


def test_help_and_version_by_hand(plugin: str) -> None:
    for flag, status, said in (
        ("--help", 0, "is a CNI IPAM plugin"),
        ("--version", 0, "k8s-ipam "),
        ("x", 2, "is a CNI IPAM"),
    ):
        done = subprocess.run(
            [plugin, flag], env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (status, "")
        assert said in done.stdout


def test_help_on_a_terminal(plugin: str) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([plugin], env={}, stdin=theirs, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert "CNI_COMMAND" in done.stdout


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stdin=st.binary(max_size=300) | st.text(st.characters(), max_size=50).map(json.dumps).map(str.encode),
    verb=st.sampled_from(["ADD", "DEL"]),
)
def test_whatever_comes_on_stdin(plugin: str, stdin: bytes, verb: str) -> None:
    assert code(k8s_ipam(cni_env(verb), stdin, program=plugin)) in (6, 11)
