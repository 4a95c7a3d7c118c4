"""A frame each way over a real socket pair: what goes in comes out, and nothing else is taken for a frame."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import wire


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


text = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(st.dictionaries(st.text("ABC_XYZ").map("CNI_{}".format), text), st.binary())
def test_a_request_arrives_as_it_was_sent(env: dict[str, str], stdin: bytes) -> None:
    body = wire.request([(key.encode(), value.encode()) for key, value in env.items()], stdin)
    assert wire.parse_request(body) == (env, stdin)


def test_only_the_variables_of_cni_are_sent() -> None:
    body = wire.request([(b"PATH", b"/bin"), (b"CNI_COMMAND", b"ADD"), (b"SECRET", b"x")], b"{}")
    assert wire.parse_request(body) == ({"CNI_COMMAND": "ADD"}, b"{}")


def test_bytes_that_are_not_utf8_survive() -> None:
    env, _ = wire.parse_request(wire.request([(b"CNI_ARGS", b"\xff\xfe")], b""))
    assert env["CNI_ARGS"].encode("utf-8", "surrogateescape") == b"\xff\xfe"


@given(st.integers(0, 255), st.binary())
def test_an_answer_arrives_as_it_was_sent(status: int, stdout: bytes) -> None:
    assert wire.parse_response(wire.response(status, stdout)) == (status, stdout)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_frames_that_arrive_in_pieces_are_put_together(bodies: list[bytes], size: int) -> None:
    stream = b"".join(map(wire.frame, bodies))
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    got, rest = [], b""
    while True:
        body, rest = wire.read_frame(lambda _: pieces.pop(0) if pieces else b"", rest)
        if body is None:
            break
        got.append(body)
    assert got == bodies


def test_a_peer_that_closes_between_frames_has_just_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(wire.frame(b"one"))
    theirs.close()
    assert wire.read_frame(ours.recv) == (b"one", b"")
    assert wire.read_frame(ours.recv) == (None, b"")


@pytest.mark.parametrize("sent", [b"\0", b"\0\0\0\5", b"\0\0\0\5four"])
def test_a_peer_that_closes_in_mid_frame_is_an_error(
    pair: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(wire.WireError, match="mid-frame"):
        wire.read_frame(ours.recv)


def test_the_limit_holds_in_both_directions(pair: tuple[socket.socket, socket.socket]) -> None:
    largest = wire.frame(bytes(wire.MAX_FRAME))
    assert wire.split(largest) == (bytes(wire.MAX_FRAME), b"")
    with pytest.raises(wire.WireError, match="too large"):
        wire.frame(bytes(wire.MAX_FRAME + 1))
    ours, theirs = pair
    theirs.sendall((wire.MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(wire.WireError, match="too large"):
        wire.read_frame(ours.recv)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no request"),
        (b"GET / HTTP/1.1\r\n\r\n", "no request"),
        (b"ipam-ledger/2\0\0{}", "speaks ipam-ledger/2, this agent ipam-ledger/1; run `ipam-ledger install-cni` again"),
        (b"ipam-ledger/1", "ends before its stdin"),
        (b"ipam-ledger/1\0CNI_COMMAND=ADD\0", "ends before its stdin"),
        (b"ipam-ledger/1\0CNI_COMMAND\0\0", "no CNI variable"),
        (b"ipam-ledger/1\0LD_PRELOAD=x\0\0", "no CNI variable"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.parse_request(body)


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(wire.WireError):
        wire.parse_response(b"")


@given(st.binary())
def test_garbage_is_refused_and_nothing_worse(body: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        wire.parse_request(body)
