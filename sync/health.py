"""What the worker can say about itself: what is wrong, in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STALL = 900.0
"""Seconds without a word from a part after which it counts as stuck. No part pauses as long as that when all is well."""


class Health:
    """What is wrong now, part by part."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.role = "starting"
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {"lead": "nothing is known yet"}
        self._heard: dict[str, float] = {}

    def well(self, part: str) -> None:
        self.note(part, None)
        self._hear(part)

    def trouble(self, part: str, why: str) -> None:
        self.note(part, why)
        self._hear(part)

    def note(self, part: str, why: str | None) -> None:
        """What is wrong with a part, or None; of one that does not move by itself, so that its silence means nothing."""
        with self._lock:
            if why is None:
                self._troubles.pop(part, None)
            else:
                self._troubles[part] = why

    def _hear(self, part: str) -> None:
        with self._lock:
            self._heard[part] = self._clock()

    def forget(self) -> None:
        """A term is over: its parts do not run any more."""
        with self._lock:
            self._heard.clear()
            self._troubles.clear()

    def live(self) -> list[str]:
        """The parts that are stuck: only a restart can help."""
        now = self._clock()
        with self._lock:
            return [
                f"{part} has not moved for {now - at:.0f} s"
                for part, at in self._heard.items()
                if now - at > STALL
            ]

    def troubled(self) -> list[str]:
        """The parts that something is wrong with."""
        with self._lock:
            return sorted(self._troubles)

    def ready(self) -> list[str]:
        """What is wrong, in sentences; empty when all is well."""
        with self._lock:
            return [f"{part}: {why}" for part, why in sorted(self._troubles.items())]
