"""How much of a pool is in use, and was over the last while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ledger import pools
from ledger.audit.names import known_pool
from ledger.events import State, rfc3339
from ledger.forecast import Sample, full_in
from ledger.store import Database, history

USAGE_EVENTS: Final = 200_000
"""How far back the ledger is read for a pool's past, in events: about a second's work at most."""
USAGE_SPAN: Final = timedelta(days=30)
USAGE_POINTS: Final = 60


@dataclass(frozen=True, slots=True)
class Usage:
    """How many addresses were in use (allocated, held or cooling) at the ends of equal parts of ``since`` to ``until``."""

    since: datetime
    until: datetime
    used: tuple[int, ...]
    capacity: int

    @property
    def full_in(self) -> timedelta | None:
        """How long until the pool is full at this pace; None where that cannot be told."""
        width = (self.until - self.since).total_seconds() / max(1, len(self.used))
        return full_in([Sample(width * n, used) for n, used in enumerate(self.used, 1)], self.capacity)

    def to_json(self) -> dict[str, Any]:
        left = self.full_in
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "used": list(self.used),
            "fullAt": rfc3339(self.until + left) if left is not None else None,
        }


def usage(database: Database, name: str, now: datetime) -> Usage | None:
    """A pool's utilisation over the last while; None if there is no past to speak of. Raises UnknownPool."""
    with database.read() as tx:
        row = known_pool(tx, name, live=True)
        first = history.first_of_pool(tx, row.id)
        reach = history.moment_back(tx, USAGE_EVENTS)
        if first is None or reach is None:
            return None
        since = max(first, reach, now - USAGE_SPAN)
        if now - since < timedelta(seconds=1):
            return None
        changes = history.usage_changes(tx, row.id, since, now, USAGE_POINTS)
        used = sum(1 for _ in history.states(tx, row.id))
    series = []
    for number in range(USAGE_POINTS - 1, -1, -1):
        series.append(used)
        used -= changes.get(number, 0)
    return Usage(since, now, tuple(reversed(series)), pools.from_spec(name, row.spec).capacity)


def in_use(database: Database, name: str) -> dict[str, State]:
    """The addresses of a pool that are not free. Raises UnknownPool."""
    with database.read() as tx:
        return dict(history.states(tx, known_pool(tx, name, live=True).id))
