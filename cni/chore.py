"""Something done again and again in the background."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from threading import Event, Thread

from ledger.errors import SchemaMismatch, TryAgain

log = logging.getLogger(__name__)


class Chore:
    """Runs ``cycle`` every ``seconds``, later and later (to ``at_most``) while the database is away.

    ``cycle`` is finite; it returns the sentence to log, or None.
    """

    def __init__(self, name: str, cycle: Callable[[], str | None], *, seconds: float, at_most: float) -> None:
        self._name = name
        self._cycle = cycle
        self._seconds = seconds
        self._at_most = at_most
        self._failures = 0
        self._ended = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let the cycle that runs finish, at most so long."""
        self._ended.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ended.wait(self.pause()):
            self.once()

    def pause(self) -> float:
        """Seconds until the next cycle; with jitter, so that the nodes of a cluster do not come back all at once."""
        longer: float = min(self._seconds * 2**self._failures, self._at_most)
        return longer * random.uniform(0.75, 1.25)  # noqa: S311  # no secret

    def once(self) -> None:
        try:
            said = self._cycle()
        except (TryAgain, SchemaMismatch) as error:
            if not self._failures:
                log.warning("%s: %s", self._name, error)
            self._failures = min(self._failures + 1, 16)
        except Exception:
            log.exception("%s failed", self._name)
            self._failures = min(self._failures + 1, 16)
        else:
            self._failures = 0
            if said:
                log.info("%s: %s", self._name, said)
