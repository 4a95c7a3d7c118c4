"""The few pages that a daemon shows over HTTP, for probes and for Prometheus."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.errors import InvalidInput

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


PATIENCE: Final = 30.0
"""Seconds within which whoever connects has to ask, and to take the answer."""


class Page(NamedTuple):
    """What is answered: the HTTP status, and text."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


def said(wrong: list[str], well: str = "ok") -> Page:
    """A probe's page: what is wrong, a line each, with 503; else one line with 200."""
    return Page(503 if wrong else 200, ("\n".join(wrong or [well]) + "\n").encode())


def metrics(registry: CollectorRegistry) -> Page:
    """Prometheus' page, in its text format."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return Page(200, generate_latest(registry), CONTENT_TYPE_LATEST)


def host_and_port(listen: str) -> tuple[str, int]:
    """``host:port``, where no host means all addresses, of both families. Raises InvalidInput."""
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise InvalidInput("listen", listen, "must be host:port")
    every = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - as no host was named
    return host.strip("[]") or every, int(port)


@contextmanager
def served(pages: Mapping[str, Callable[[], Page]], listen: str | None) -> Iterator[None]:
    """Answer these paths on ``host:port`` meanwhile, each request from a thread of its own; nothing if ``listen`` is None.

    Raises InvalidInput.
    """
    if listen is None:
        yield
        return
    address = host_and_port(listen)
    there = f"no such page; there are {', '.join(sorted(pages))}\n".encode()

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        daemon_threads = True

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                # "::" is both families, whatever net.ipv6.bindv6only says
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

        def handle_error(self, request: Any, client_address: Any) -> None:
            # A probe that did not wait for the answer is no news.
            if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
                super().handle_error(request, client_address)

    class Answer(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            asked = pages.get(self.path.split("?")[0])
            page = asked() if asked else Page(404, there)
            self.send_response(page.status)
            self.send_header("Content-Type", page.kind)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds; nobody wants to read of each."""

    try:
        server = Server(address, Answer)
    except OSError as error:
        raise InvalidInput("listen", listen, f"cannot be listened on: {error}") from error
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
