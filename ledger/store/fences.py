"""The fence's table: it only grows; its newest row says whether addresses may be given out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.errors import Fenced
from ledger.events import rfc3339
from ledger.schema import fence, ledger, pool
from ledger.store.database import Tx


@dataclass(frozen=True, slots=True)
class Fence:
    """One turn of the fence: raised or lifted, when, why and by whom."""

    raised: bool
    at: datetime
    reason: str
    actor: str

    def to_json(self) -> dict[str, Any]:
        return {"raised": self.raised, "at": rfc3339(self.at), "reason": self.reason, "actor": self.actor}


def turns(tx: Tx, limit: int = 1) -> list[Fence]:
    """The newest turns, newest first; none if the fence was never raised."""
    query = sa.select(fence).order_by(fence.c.id.desc()).limit(limit)
    return [Fence(row.raised, row.at, row.reason, row.actor) for row in tx.execute(query)]


def turn(tx: Tx, *, raised: bool, reason: str, actor: str) -> None:
    tx.execute(sa.insert(fence).values(raised=raised, at=tx.clock(), reason=reason, actor=actor))


def lift_alone(tx: Tx) -> None:
    """One at a time lifts the fence, until the end of the transaction: so no two lifts ever stand one behind the other."""
    if not tx.sqlite:
        tx.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('ipam-ledger fence'))")


def numbered(tx: Tx) -> list[tuple[int, bool]]:
    """The number of every turn, and whether it raised the fence; oldest first. LedgerCorrupt where its time is none."""
    query = sa.select(fence.c.id, fence.c.raised, fence.c.at).order_by(fence.c.id)
    return [(number, bool(raised)) for number, raised, _ in tx.execute(query)]


def refuse(tx: Tx) -> None:
    """Raise Fenced while the fence is raised."""
    newest = turns(tx)
    if newest and newest[0].raised:
        raise Fenced(newest[0].reason, rfc3339(newest[0].at))


def half_imported(tx: Tx) -> bool:
    """Whether an import began here and did not end, as far as can be told at once: there are events, but no pool was made yet."""
    made = tx.execute(sa.select(1).select_from(pool).where(pool.c.version > 0).limit(1)).first()
    return made is None and tx.execute(sa.select(1).select_from(ledger).limit(1)).first() is not None
