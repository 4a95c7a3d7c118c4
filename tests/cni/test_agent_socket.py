"""The agent's socket: whose it is, and that no peer gets it down."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni import agent as module
from cni import wire
from cni.agent import Agent, CannotServe, alone
from tests.cni.conftest import Said, ask

Reply = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]


def echo(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    return 0, stdin


@pytest.fixture
def start(short: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def start(reply: Reply = echo, **options: int) -> Agent:
        (short / "run").mkdir(exist_ok=True)
        made.append(Agent(short / "run" / "s", reply, **options))
        made[-1].open()
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop(30)


def connect(agent: Agent) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(agent.path))
    return connection


def asked(agent: Agent, stdin: bytes = b'"hello"') -> bytes:
    return ask(agent.path, {"CNI_COMMAND": "ADD"}, stdin).raw


def test_only_its_user_may_ask(start: Callable[..., Agent]) -> None:
    agent = start()
    assert stat.S_IMODE(agent.path.stat().st_mode) == 0o600


def test_it_is_private_from_its_first_instant(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at between bind and listen; a chmod after bind would come too late."""
    seen = []

    class Watching(socket.socket):
        def listen(self, *backlog: int) -> None:
            seen.append(stat.S_IMODE(Path(self.getsockname()).stat().st_mode))
            super().listen(*backlog)

    monkeypatch.setattr(module.socket, "socket", Watching)
    agent = Agent(short / "s", echo)
    before = os.umask(0)
    try:
        agent.open()
    finally:
        os.umask(before)
    agent.close()
    assert seen == [0o600]


def test_the_socket_of_a_dead_agent_is_replaced(start: Callable[..., Agent], short: Path) -> None:
    (short / "run").mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short / "run" / "s"))
        dead.listen()
    assert asked(start()) == b'"hello"'


def test_a_live_agent_is_left_alone(start: Callable[..., Agent]) -> None:
    agent = start()
    with pytest.raises(CannotServe, match="another program serves"):
        Agent(agent.path, echo).open()
    assert asked(agent) == b'"hello"'


def test_one_at_a_time_is_alone(short: Path) -> None:
    for _ in range(2):
        with alone(short / "s"), pytest.raises(CannotServe, match="another agent serves"), alone(short / "s"):
            pass


def test_another_program_is_left_alone(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short / "s"))
        other.listen()
        with pytest.raises(CannotServe, match="another program serves"):
            Agent(short / "s", echo).open()
    assert (short / "s").exists()


def test_a_file_is_left_alone(short: Path) -> None:
    (short / "s").write_text("mine")
    with pytest.raises(CannotServe, match="is no socket"):
        Agent(short / "s", echo).open()
    assert (short / "s").read_text() == "mine"


def test_what_took_its_place_is_left_alone(start: Callable[..., Agent]) -> None:
    agent = start()
    agent.path.unlink()
    agent.path.write_text("another's")
    assert agent.stop(30)
    assert agent.path.read_text() == "another's"


@pytest.mark.parametrize("path", ["/proc/none/s", "/tmp/" + "x" * 110])
def test_a_path_that_cannot_be_had_is_named(path: str) -> None:
    with pytest.raises(CannotServe, match=path):
        Agent(Path(path), echo).open()


def test_several_exchanges_on_one_connection(start: Callable[..., Agent]) -> None:
    with connect(start()) as connection:
        rest = b""
        for i in range(5):
            connection.sendall(wire.frame(wire.request([], str(i).encode())))
            body, rest = wire.read_frame(connection.recv, rest)
            assert body == b"\0" + str(i).encode()


def test_two_requests_at_once_are_answered_in_order(start: Callable[..., Agent]) -> None:
    with connect(start()) as connection:
        connection.sendall(b"".join(wire.frame(wire.request([], body)) for body in (b"one", b"two")))
        first, rest = wire.read_frame(connection.recv)
        second, rest = wire.read_frame(connection.recv, rest)
        assert (first, second, rest) == (b"\0one", b"\0two", b"")


def test_a_request_as_large_as_can_be(start: Callable[..., Agent]) -> None:
    stdin = b'"' + b"x" * (wire.MAX_FRAME - 200) + b'"'
    assert asked(start(), stdin) == stdin


@pytest.mark.parametrize(
    "sent",
    [
        (wire.MAX_FRAME + 1).to_bytes(4, "big"),
        b"\xff" * 2_000_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000,
        wire.frame(b""),
        wire.frame(b"ipam-ledger/9\0\0{}"),
        wire.frame(b"ipam-ledger/1\0PATH=/\0\0{}"),
    ],
    ids=["a length above the limit", "ones", "HTTP", "empty", "another version", "another variable"],
)
def test_what_is_no_request_gets_an_error_and_an_end(start: Callable[..., Agent], sent: bytes) -> None:
    agent = start()
    with connect(agent) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        body, _ = wire.read_frame(connection.recv)
        assert Said(*wire.parse_response(body or b"")).code == 6
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert asked(agent) == b'"hello"'


def test_a_request_that_dribbles_is_cut_off(
    start: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow on purpose, a byte at a time: its thread is not held for ever."""
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    frame = wire.frame(wire.request([], b"x" * 10_000))
    with connect(start()) as connection:
        begun = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for byte in frame:
                connection.sendall(bytes((byte,)))
                time.sleep(0.01)
        body, _ = wire.read_frame(connection.recv)
        assert (
            Said(*wire.parse_response(body or b"")).json["msg"].startswith("a request did not arrive whole")
        )
        assert time.monotonic() - begun < 30, "the whole of it takes 100 seconds"


def test_a_request_that_stops_is_cut_off(
    start: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "TICK", 0.1)
    with connect(start()) as connection:
        connection.sendall(b"\0\0\0\x20half")
        body, _ = wire.read_frame(connection.recv)
        assert Said(*wire.parse_response(body or b"")).code == 6


def test_a_silent_connection_is_closed(start: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.2)
    monkeypatch.setattr(module, "TICK", 0.1)
    with connect(start()) as connection:
        assert connection.recv(1) == b""


def test_silent_connections_do_not_keep_others_out(
    start: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN", 1)
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "TICK", 0.1)
    agent = start()
    with connect(agent) as silent:
        assert asked(agent) == b'"hello"'
        assert silent.recv(1) == b""


def test_an_answer_that_nobody_takes_does_not_hold_others_up(start: Callable[..., Agent]) -> None:
    big = b'"' + b"x" * 900_000 + b'"'
    agent = start()
    with connect(agent) as deaf:
        deaf.sendall(wire.frame(wire.request([], big)))
        time.sleep(0.1)
        assert asked(agent) == b'"hello"'


def test_an_answer_that_no_frame_can_hold_is_an_error(start: Callable[..., Agent]) -> None:
    agent = start(lambda env, stdin: (0, stdin * 2))
    with connect(agent) as connection:
        for _ in range(2):
            connection.sendall(wire.frame(wire.request([], b"x" * 600_000)))
            body, _ = wire.read_frame(connection.recv)
            said = Said(*wire.parse_response(body or b""))
            assert (said.code, "too large" in said.json["msg"]) == (6, True)
    assert agent.stop(30)


def test_two_hundred_at_once(start: Callable[..., Agent]) -> None:
    """As when a node boots: each on its own connection, none refused, all at work at one time."""
    together = threading.Barrier(200)

    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        together.wait(60)
        return 0, stdin

    agent = start(reply)
    answers = []
    threads = [
        threading.Thread(target=lambda i=i: answers.append(asked(agent, str(i).encode()))) for i in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(answers, key=int) == [str(i).encode() for i in range(200)]


def test_more_than_there_are_workers_wait_their_turn(start: Callable[..., Agent]) -> None:
    agent = start(workers=2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(asked(agent))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [b'"hello"'] * 50
    assert sum(t.name.startswith("agent-") for t in threading.enumerate()) <= 2


def test_a_reply_that_fails_ends_its_connection_alone(start: Callable[..., Agent]) -> None:
    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        if stdin == b"bad":
            raise RuntimeError("a bug")
        return 0, stdin

    agent = start(reply)
    with connect(agent) as connection:
        connection.sendall(wire.frame(wire.request([], b"bad")))
        assert connection.recv(1) == b""
    assert asked(agent) == b'"hello"'


def test_a_peer_that_went_away_before_its_answer_is_forgotten(start: Callable[..., Agent]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        if stdin == b"slow":
            entered.set()
            assert leave.wait(60)
        return 0, stdin

    agent = start(reply)
    with connect(agent) as connection:
        connection.sendall(wire.frame(wire.request([], b"slow")))
        assert entered.wait(20)
    assert asked(agent) == b'"hello"'
    leave.set()
    assert asked(agent) == b'"hello"'
    deadline = time.monotonic() + 30
    while agent._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert agent._connections == {}


def test_what_is_said_before_the_answer_waits_for_it(start: Callable[..., Agent]) -> None:
    """In pieces, and more than one request: each is answered, in order."""
    entered, leave = threading.Event(), threading.Event()

    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        entered.set()
        assert leave.wait(60)
        return 0, stdin

    with connect(start(reply)) as connection:
        connection.sendall(wire.frame(wire.request([], b"1")))
        assert entered.wait(20)
        for piece in (wire.frame(wire.request([], b"2")), wire.frame(wire.request([], b"3"))):
            connection.sendall(piece[:9])
            time.sleep(0.05)
            connection.sendall(piece[9:])
        leave.set()
        rest, answers = b"", []
        for _ in range(3):
            body, rest = wire.read_frame(connection.recv, rest)
            answers.append(body)
    assert answers == [b"\x001", b"\x002", b"\x003"]


def test_who_waits_to_be_taken_at_the_end_sees_an_end(start: Callable[..., Agent]) -> None:
    agent = start()
    assert agent.stop(30)
    with socket.socket(socket.AF_UNIX) as late, pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        late.connect(str(agent.path))


def test_stop_finishes_what_runs_and_ends_what_waits(start: Callable[..., Agent]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        entered.set()
        assert leave.wait(60)
        return 0, stdin

    agent = start(reply)
    answers: list[bytes] = []
    working = threading.Thread(target=lambda: answers.append(asked(agent)))
    working.start()
    assert entered.wait(20)
    with connect(agent) as idle:
        finished: list[bool] = []
        stopping = threading.Thread(target=lambda: finished.append(agent.stop(30)))
        stopping.start()
        assert idle.recv(1) == b""
        leave.set()
        working.join(30)
        stopping.join(30)
    assert (answers, finished) == ([b'"hello"'], [True])
    assert not agent.path.exists()


def test_stop_does_not_wait_for_ever(start: Callable[..., Agent]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def reply(env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        entered.set()
        leave.wait(20)
        return 0, stdin

    agent = start(reply)
    with connect(agent) as connection:
        connection.sendall(wire.frame(wire.request([], b"")))
        assert entered.wait(20)
        assert agent.stop(0.2) is False
        leave.set()


@pytest.fixture
def echoing(start: Callable[..., Agent]) -> Agent:
    return start()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(wire.frame), max_size=4))
def test_garbage_of_every_kind(echoing: Agent, pieces: list[bytes]) -> None:
    """Whatever one peer sends, the next is served."""
    with connect(echoing) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    assert asked(echoing) == b'"hello"'
