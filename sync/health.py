"""What the worker can say about itself: readiness in words, over HTTP where asked for."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ledger.errors import InvalidInput

STALL = 900.0
"""Seconds without a word from a part after which it counts as stuck."""


class Health:
    """What is wrong now, part by part."""

    def __init__(self) -> None:
        self.role = "starting"
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {"lead": "nothing is known yet"}
        self._heard: dict[str, float] = {}

    def well(self, part: str) -> None:
        with self._lock:
            self._troubles.pop(part, None)
            self._heard[part] = time.monotonic()

    def trouble(self, part: str, why: str) -> None:
        with self._lock:
            self._troubles[part] = why
            self._heard[part] = time.monotonic()

    def forget(self) -> None:
        """A term is over: its parts do not run any more."""
        with self._lock:
            self._heard.clear()
            self._troubles.clear()

    def live(self) -> list[str]:
        """The parts that are stuck: only a restart can help."""
        now = time.monotonic()
        with self._lock:
            return [
                f"{part} has not moved for {now - at:.0f} s"
                for part, at in self._heard.items()
                if now - at > STALL
            ]

    def ready(self) -> list[str]:
        """What is wrong, in sentences; empty when all is well."""
        with self._lock:
            return [f"{part}: {why}" for part, why in sorted(self._troubles.items())]


def host_and_port(listen: str) -> tuple[str, int]:
    """``host:port``, where no host means all addresses. Raises InvalidInput."""
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise InvalidInput("listen", listen, "must be host:port")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104


def serve(health: Health, listen: str) -> ThreadingHTTPServer:
    """Answer /healthz and /readyz on ``host:port`` from a thread of its own. Raises InvalidInput."""
    address = host_and_port(listen)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {"/healthz": health.live, "/readyz": health.ready}.get(self.path.split("?")[0])
            wrong = asked() if asked else ["no such page; there are /healthz and /readyz"]
            code = 404 if asked is None else 503 if wrong else 200
            body = ("\n".join(wrong or [f"ok ({health.role})"]) + "\n").encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds; nobody wants to read of each."""

    try:
        server = ThreadingHTTPServer(address, Answer)
    except OSError as error:
        raise InvalidInput("listen", listen, f"cannot be listened on: {error}") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
