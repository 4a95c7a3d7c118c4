"""Reading what a projection stands on: the ledger's position, and every address as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from ledger.events import Attachment, Cursor, Event, Kind, Owner, State
from ledger.schema import address, ledger, pool
from ledger.store.database import Database, Tx
from ledger.store.rows import _address_row


def newest_seq(tx: Tx) -> int:
    """The highest position that can be seen; lower ones may still be uncommitted on PostgreSQL."""
    return tx.execute(sa.select(sa.func.max(ledger.c.seq))).scalar() or 0


def oldest_open(tx: Tx) -> int:
    """The transaction below which all are over: what they wrote is in this snapshot. 0 on SQLite."""
    if tx.sqlite:
        return 0
    query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
    return int(tx.connection.exec_driver_sql(query).scalar_one())


def from_here(tx: Tx) -> Cursor:
    """Where to follow from after this snapshot: what is over is in it, what is not comes by the cursor; some may come again."""
    return Cursor(0, newest_seq(tx)) if tx.sqlite else Cursor(oldest_open(tx) - 1, 2**63 - 1)


def newest_begun(database: Database) -> int:
    """A transaction above all that have begun to write by now: one of its own, made for this. 0 on SQLite, which has one at a time.

    A snapshot's ``xmax`` is no such bound: it is behind the last transaction that is *over*, and later ones may be open.
    """
    if database.sqlite:
        return 0
    with database.begin() as tx:
        return int(tx.connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())


def used_addresses(tx: Tx, states: Sequence[State] | None = None) -> Iterator[Event]:
    """The newest event of every address that has one (or only those in ``states``), in no order.

    Without what the row does not keep: ``seq`` is 0, ``kind`` says only what the state implies, reason and actor are None.
    """
    query = sa.select(address, pool.c.name.label("pool_name")).join(pool, pool.c.id == address.c.pool_id)
    if states is None:
        query = query.where(address.c.version > 0)
    else:
        query = query.where(address.c.state.in_([state.value for state in states]))
    for found in tx.execute(query.execution_options(yield_per=5_000)):
        row = _address_row(found)
        if row.since is None:
            continue
        yield Event(
            0, row.since, _KINDS[row.state], found.pool_name, row.ip, row.version, row.state, row.owner,
            row.attachment, row.node, row.until, None, None,
        )  # fmt: skip


_KINDS = {
    State.FREE: Kind.RELEASED,
    State.ALLOCATED: Kind.ALLOCATED,
    State.COOLING: Kind.RELEASED,
    State.HELD: Kind.HELD,
}


def newest_pools(tx: Tx) -> Iterator[Event]:
    """The newest event of every pool that is not deleted; as in ``used_addresses``, without seq, reason and actor."""
    newest = (
        sa.select(ledger.c.at)
        .where(ledger.c.pool_id == pool.c.id, ledger.c.ip.is_(None), ledger.c.version == pool.c.version)
        .scalar_subquery()
    )
    for row in tx.execute(sa.select(pool, newest.label("at")).where(pool.c.live).order_by(pool.c.name)):
        kind = Kind.POOL_CREATED if row.version == 1 else Kind.POOL_UPDATED
        yield Event(
            0, row.at, kind, row.name, None, row.version, None, Owner(), Attachment(""), None, None, None, None, row.spec,
        )  # fmt: skip
