"""What a term has to look at, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from sync.queue import KeyedQueue


@dataclass(frozen=True, slots=True)
class Key:
    """Something to look at: an IPPool, its status, or an address that a StatefulSet may want back."""

    what: Literal["pool", "status", "retain"]
    pool: str
    ip: str = ""


class Agenda(KeyedQueue[Key]):
    """The queue, asked in words. ``pace``: seconds between two patches of one pool's status."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self._pace = pace
        self._patched: dict[str, float] = {}

    def pool(self, name: str, delay: float = 0.0) -> None:
        self.add(Key("pool", name), delay)

    def status(self, name: str) -> None:
        """As soon as its pace allows."""
        since = time.monotonic() - self._patched.get(name, float("-inf"))
        self.add(Key("status", name), max(0.0, self._pace - since))

    def changed(self, name: str) -> None:
        """The IPPool has: both what it wants and what it shows."""
        self.pool(name)
        self.status(name)

    def patched(self, name: str) -> None:
        """Its status is being patched now."""
        self._patched[name] = time.monotonic()

    def retain(self, pool: str, ip: str) -> None:
        self.add(Key("retain", pool, ip))
