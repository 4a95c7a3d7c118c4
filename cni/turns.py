"""Turns: what concerns one key is done one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock


class Turns:
    """First come, first served, key by key; different keys never wait for each other.

    Who waits for its turn need not be a thread. Keys in use cost memory, others none.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._waiting: dict[str, list[Callable[[], object]]] = {}  # behind whoever has the turn

    def take(self, key: str, later: Callable[[], object]) -> bool:
        """Whether the turn is had at once. If not, ``later`` is called when it is, in the thread that ends the one before.

        Whoever has it calls :meth:`end`, from whatever thread. ``later`` must be quick and not raise.
        """
        with self._guard:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = []
                return True
            waiting.append(later)
            return False

    def end(self, key: str) -> None:
        """The next one's turn."""
        with self._guard:
            waiting = self._waiting[key]
            if not waiting:
                del self._waiting[key]
                return
            later = waiting.pop(0)
        later()

    @contextmanager
    def __call__(self, key: str) -> Iterator[None]:
        """The turn for a ``with``, which waits for it."""
        mine = Event()
        if not self.take(key, mine.set):
            mine.wait()
        try:
            yield
        finally:
            self.end(key)

    def in_flight(self) -> dict[str, int]:
        """How many have or wait for a turn, for each key in use."""
        with self._guard:
            return {key: 1 + len(waiting) for key, waiting in self._waiting.items()}
