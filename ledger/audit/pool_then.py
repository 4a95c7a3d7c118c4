"""A whole pool at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger import pools
from ledger.addresses import to_int
from ledger.audit.names import known_pool
from ledger.errors import PoolNotThen
from ledger.events import Event, Kind, State, rfc3339
from ledger.pools import PoolSpec
from ledger.store import Database, Tx, history
from ledger.store.rows import PoolRow


@dataclass(frozen=True, slots=True)
class PoolThen:
    """A pool at a moment: its own newest event, its spec, and the newest event of each address that was used by then.

    ``addresses`` stand in the order of their numbers; free ones only if they were asked for.
    """

    event: Event
    spec: PoolSpec
    at: datetime
    addresses: tuple[Event, ...]

    def count(self, state: State) -> int:
        return sum(event.state is state for event in self.addresses)

    def to_json(self) -> dict[str, Any]:
        counts = {state: self.count(state) for state in (State.ALLOCATED, State.HELD, State.COOLING)}
        used = sum(counts.values())
        return {
            "pool": self.spec.name,
            "at": rfc3339(self.at),
            "capacity": self.spec.capacity,
            "allocated": counts[State.ALLOCATED],
            "free": max(0, self.spec.capacity - used),
            "held": counts[State.HELD],
            "cooling": counts[State.COOLING],
            "utilization": used / self.spec.capacity,
            "addresses": [event.to_json() for event in self.addresses],
        }


def pool_at(database: Database, name: str, at: datetime, *, free: bool = False) -> PoolThen:
    """A pool as it was. ``free``: also the addresses that were free again. Raises UnknownPool, PoolNotThen."""
    with database.read() as tx:
        row, event = pool_then(tx, name, at)
        found = history.pool_at(tx, row.id, at, used_only=not free)
    found.sort(key=lambda each: to_int(each.ip or ""))
    return PoolThen(event, pools.from_spec(name, event.spec), at, tuple(found))


def pool_then(tx: Tx, name: str, at: datetime) -> tuple[PoolRow, Event]:
    """The pool and its own newest event by then. Raises UnknownPool, PoolNotThen."""
    row = known_pool(tx, name)
    event = history.pool_event(tx, row.id, at)
    if event is None:
        raise PoolNotThen(name, rfc3339(at), "it was created later")
    if event.kind is Kind.POOL_DELETED:
        raise PoolNotThen(name, rfc3339(at), f"it was deleted at {rfc3339(event.at)}")
    return row, event
