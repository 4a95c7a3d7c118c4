"""What changed in a pool between two moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger import pools
from ledger.addresses import to_int
from ledger.audit.pool_then import pool_then
from ledger.errors import PoolNotThen
from ledger.events import Event, State
from ledger.pools import PoolSpec
from ledger.replay import holder
from ledger.store import Database, history


@dataclass(frozen=True, slots=True)
class Change:
    """An address that is not at the second moment what it was at the first. ``before`` None: it was never used by then.

    ``events``: how many events it had in between.
    """

    before: Event | None
    after: Event

    @property
    def events(self) -> int:
        return self.after.version - (self.before.version if self.before else 0)

    @property
    def what(self) -> str:
        """``given``, ``relaunched`` (the same owner, another sandbox), ``passed on`` (to another owner), ``held``, ``cooling``, ``freed``."""
        if self.after.state is not State.ALLOCATED:
            return "freed" if self.after.state is State.FREE else str(self.after.state)
        if self.before is None or self.before.state is not State.ALLOCATED:
            return "given"
        one, other = self.before.owner, self.after.owner
        same = (one.namespace, one.pod) == (other.namespace, other.pod) and (
            one.is_pod or self.before.attachment.container_id == self.after.attachment.container_id
        )
        return "relaunched" if same else "passed on"

    def to_json(self) -> dict[str, Any]:
        return {
            "ip": self.after.ip,
            "pool": self.after.pool,
            "change": self.what,
            "events": self.events,
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed in a pool: its spec (None: the pool was not there then), and addresses in the order of their numbers.

    ``back``: addresses that had events in between, but are at the second moment what they were at the first.
    """

    spec_before: PoolSpec | None
    spec_after: PoolSpec | None
    changes: tuple[Change, ...]
    back: int

    @property
    def spec_changed(self) -> bool:
        one, other = self.spec_before, self.spec_after
        return (one is None) is not (other is None) or bool(one and other and not pools.same(one, other))


def diff(database: Database, name: str, since: datetime, until: datetime) -> Diff:
    """What changed in a pool from one moment to another; net. Raises UnknownPool; PoolNotThen if it was there at neither."""
    with database.read() as tx:
        specs: list[PoolSpec | None] = []
        for at in (since, until):
            try:
                row, event = pool_then(tx, name, at)
                specs.append(pools.from_spec(name, event.spec))
            except PoolNotThen:
                if at is until and specs == [None]:
                    raise
                specs.append(None)
        moved = [Change(old, new) for old, new in history.changed(tx, row.id, since, until)]
    changes = [change for change in moved if _differs(change)]
    changes.sort(key=lambda change: to_int(change.after.ip or ""))
    return Diff(specs[0], specs[1], tuple(changes), len(moved) - len(changes))


def _differs(change: Change) -> bool:
    before, after = change.before, change.after
    was = before.state if before else State.FREE
    if was is State.FREE and after.state is State.FREE:
        return False
    return (
        before is None
        or was is not after.state
        or holder(before) != holder(after)
        or before.until != after.until
    )
