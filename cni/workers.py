"""Threads for work that may block."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread

log = logging.getLogger(__name__)


class Workers:
    """Runs each job in a thread: as many threads as there are jobs at one time, at most ``limit``; more jobs wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._guard = Condition()
        self._threads = 0
        self._unfinished = 0

    def __call__(self, job: Callable[[], None]) -> None:
        with self._guard:
            self._unfinished += 1
            if self._unfinished > self._threads and self._threads < self._limit:
                try:
                    Thread(target=self._work, name=f"agent-{self._threads + 1}", daemon=True).start()
                    self._threads += 1
                except RuntimeError as error:  # a limit of the system's: the job waits as above ours
                    log.error("%d threads, and no more: %s", self._threads, error)
        self._jobs.put(job)

    def stop(self, seconds: float) -> bool:
        """Finish all jobs and end the threads, at most so long; whether it is done."""
        deadline = time.monotonic() + seconds
        with self._guard:
            if not self._guard.wait_for(lambda: self._unfinished == 0, seconds):
                return False
            for _ in range(self._threads):
                self._jobs.put(None)
            return self._guard.wait_for(lambda: self._threads == 0, max(deadline - time.monotonic(), 1))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a job failed")
            with self._guard:
                self._unfinished -= 1
                self._guard.notify_all()
        with self._guard:
            self._threads -= 1
            self._guard.notify_all()
