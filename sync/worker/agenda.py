"""What a term has to look at, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

from sync.queue import KeyedQueue

RATE: Final = 64 * 1024
"""Bytes of reservations that are written for one pool in a second, at most. Each patch, however small, has the API server
read, merge and store the whole object, and etcd keeps every copy until it is compacted, which is five minutes or more."""


@dataclass(frozen=True, slots=True)
class Key:
    """Something to look at: an IPPool, its status, or an address that a StatefulSet may want back."""

    what: Literal["pool", "status", "retain"]
    pool: str
    ip: str = ""


class Agenda(KeyedQueue[Key]):
    """The queue, asked in words. ``pace``: seconds between two patches of one pool's status, more if it is large."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self._pace = pace
        self._not_before: dict[str, float] = {}

    def pool(self, name: str, delay: float = 0.0) -> None:
        self.add(Key("pool", name), delay)

    def status(self, name: str) -> None:
        """As soon as its pace allows."""
        self.add(Key("status", name), max(0.0, self._not_before.get(name, 0.0) - time.monotonic()))

    def changed(self, name: str) -> None:
        """The IPPool has: both what it wants and what it shows."""
        self.pool(name)
        self.status(name)

    def patched(self, name: str, size: int) -> None:
        """Its status is being patched now. ``size``: bytes of its reservations."""
        self._not_before[name] = time.monotonic() + max(self._pace, size / RATE)

    def retain(self, pool: str, ip: str) -> None:
        self.add(Key("retain", pool, ip))
