"""One queue of keys with due times: a key is in it once, however often it is asked for."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Keys to look at, each at its time. Safe between threads."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._changed = threading.Condition()

    def add(self, key: K, delay: float = 0.0) -> None:
        """Ask for a look at ``key`` in so many seconds; the earliest wish counts."""
        due = time.monotonic() + delay
        with self._changed:
            if self._due.get(key, float("inf")) <= due:
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._changed.notify()

    def take(self, timeout: float) -> K | None:
        """The next key that is due, within ``timeout`` seconds, or None."""
        until = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)  # asked for earlier since, or taken
                if self._heap and self._heap[0][0] <= now:
                    key = heapq.heappop(self._heap)[2]
                    del self._due[key]
                    return key
                wait = min(until, self._heap[0][0] if self._heap else until) - now
                if now >= until:
                    return None
                self._changed.wait(wait)
