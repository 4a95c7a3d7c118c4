"""Clients of the agent's socket, many in one process: a lean load, since they share the cores with what they measure."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cni import wire

Request = Callable[[str, int], bytes]
"""The body that asks for a verb of the container with this number."""


@dataclass(frozen=True)
class Load:
    """What the clients saw: answered calls a second, each one's seconds, and the answers that were errors."""

    rate: float
    seconds: list[float]
    errors: list[bytes]


class Client:
    """One connection, kept open: an ADD, then the DEL of that container, then the next one's ADD."""

    def __init__(self, path: Path, request: Request, numbers: itertools.count[int]) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self._request = request
        self._numbers = numbers
        self._verb = "DEL"
        self._number = 0
        self._rest = b""
        self.begun = 0.0

    def ask(self) -> None:
        if self._verb == "DEL":
            self._verb, self._number = "ADD", next(self._numbers)
        else:
            self._verb = "DEL"
        body = wire.frame(self._request(self._verb, self._number))
        self.begun = time.perf_counter()
        self.socket.sendall(body)  # far less than a socket's buffer

    def answer(self) -> bytes | None:
        """The body of an answer that is there whole."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the agent hung up")
        self._rest += data
        need = 4 + int.from_bytes(self._rest[:4], "big")
        if len(self._rest) < max(need, 5):
            return None
        body, self._rest = self._rest[4:need], self._rest[need:]
        return body

    @property
    def between(self) -> bool:
        """Whether it holds nothing."""
        return self._verb == "DEL"


def run(path: Path, request: Request, *, clients: int, seconds: float, warm: float = 0.3) -> Load:
    """Each client asks as soon as it is answered. ``warm`` seconds are left out; afterwards every container is deleted."""
    numbers = itertools.count(time.time_ns())
    by_fd = {}
    poll = select.epoll()
    for _ in range(clients):
        client = Client(path, request, numbers)
        by_fd[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    taken, errors = [], []
    clock = time.perf_counter
    begin = clock() + warm
    end = begin + seconds
    counted = 0
    for client in by_fd.values():
        client.ask()
    asking = len(by_fd)
    while asking:
        for fd, _ in poll.poll():
            client = by_fd[fd]
            body = client.answer()
            if body is None:
                continue
            now = clock()
            if body[0]:
                errors.append(body)
            if begin <= now < end:
                counted += 1
                taken.append(now - client.begun)
            if now < end or not client.between:
                client.ask()
            else:
                asking -= 1
    for client in by_fd.values():
        client.socket.close()
    poll.close()
    return Load(counted / seconds, taken, errors)
