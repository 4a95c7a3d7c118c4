"""A daemon's pages are where they were asked for, on either family of addresses."""

from __future__ import annotations

import socket
import struct
import threading
import time
import urllib.request

import pytest

from ledger.pages import Page, said, served
from tests.servers import need
from tests.servers.postgres import free_port


@pytest.fixture(autouse=True)
def _ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        need.missing("IPv6 on this machine", "sysctl net.ipv6.conf.lo.disable_ipv6=0")


def test_a_probe_that_does_not_wait_for_the_answer_is_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    port, hung_up, answered = free_port(), threading.Event(), threading.Event()

    def slow() -> Page:
        hung_up.wait(30)
        answered.set()
        return said([], "x" * 10_000_000)

    with served({"/readyz": slow}, f"127.0.0.1:{port}"):
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # its end is a reset
        hung_up.set()
        assert answered.wait(30)
        deadline = time.monotonic() + 30
        while any("process_request" in each.name for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_who_connects_and_asks_nothing_is_parted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each half-open connection, as a machine leaves it that goes down, costs a thread for good."""
    monkeypatch.setattr("ledger.pages.PATIENCE", 0.2)
    port = free_port()
    with (
        served({"/healthz": lambda: said([])}, f"127.0.0.1:{port}"),
        socket.create_connection(("127.0.0.1", port), timeout=30) as silent,
    ):
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    ("listen", "answers"),
    [
        ("127.0.0.1:{}", ["127.0.0.1"]),
        ("[::1]:{}", ["[::1]"]),
        ("::1:{}", ["[::1]"]),  # as a manifest makes it of a node's address
        (":{}", ["127.0.0.1", "[::1]"]),
    ],
)
def test_the_pages_answer_there(listen: str, answers: list[str]) -> None:
    port = free_port()
    with served({"/healthz": lambda: said([])}, listen.format(port)):
        for host in answers:
            with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=30) as answer:
                assert answer.read() == b"ok\n"
