"""A lock for each key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class KeyedLock:
    """Serialises what concerns one key; different keys never wait for each other. Keys in use cost memory, others none."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._held: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def __call__(self, key: str) -> Iterator[None]:
        with self._guard:
            lock, waiting = self._held.get(key) or (Lock(), 0)
            self._held[key] = (lock, waiting + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, waiting = self._held[key]
                if waiting == 1:
                    del self._held[key]
                else:
                    self._held[key] = (lock, waiting - 1)

    def __len__(self) -> int:
        return len(self._held)
