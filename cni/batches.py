"""One thread that carries out what others want done, as much at a time as there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition, Thread
from typing import Generic, TypeVar

from ledger.lane import LIMIT

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """What was put while the last batch ran is the next one. No timer: a lone item is a batch at once.

    ``run`` never raises.
    """

    def __init__(self, name: str, run: Callable[[Sequence[Item]], None]) -> None:
        self._run = run
        self._queue: deque[Item] = deque()
        self._guard = Condition()
        self._ended = False
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, items: Iterable[Item]) -> None:
        """All of them at once, or the first would be a batch by itself."""
        with self._guard:
            self._queue.extend(items)
            self._guard.notify()

    def stop(self, seconds: float) -> bool:
        """Finish what was put, at most so long; whether it is done."""
        with self._guard:
            self._ended = True
            self._guard.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while batch := self._next():
            self._run(batch)

    def _next(self) -> list[Item]:
        """Waits for some; none: there will be no more."""
        with self._guard:
            self._guard.wait_for(lambda: self._queue or self._ended)
            return [self._queue.popleft() for _ in range(min(LIMIT, len(self._queue)))]
