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
            lock, users = self._held.get(key) or (Lock(), 0)
            self._held[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            self._leave(key)

    def attempt(self, key: str) -> bool:
        """Take the lock if nobody has it or waits for it; whoever took it calls ``release``, from whatever thread."""
        with self._guard:
            if key in self._held:
                return False
            lock = Lock()
            lock.acquire()
            self._held[key] = (lock, 1)
            return True

    def release(self, key: str) -> None:
        """Let go of what ``attempt`` took."""
        self._held[key][0].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        with self._guard:
            lock, users = self._held[key]
            if users == 1:
                del self._held[key]
            else:
                self._held[key] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._held)
