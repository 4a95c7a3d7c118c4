"""A daemon's pages are where they were asked for, on either family of addresses."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from ledger.pages import said, served
from tests.servers import need
from tests.servers.postgres import free_port


@pytest.fixture(autouse=True)
def _ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        need.missing("IPv6 on this machine", "sysctl net.ipv6.conf.lo.disable_ipv6=0")


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
