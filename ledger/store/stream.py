"""Reading many events fast, as rows of text: what seals, exports and verification stream through.

A row is a tuple: the columns in the order of :func:`ledger.canonical.leaf_of`, then ``xid``. ``spec`` is parsed;
``seq``, ``version`` and ``xid`` are numbers; everything else is text as it stands in the leaf.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ledger.events import Attachment, Cursor, Event, Kind, Owner, State, parse_rfc3339
from ledger.store.database import Tx

Row = tuple[Any, ...]

SEQ, XID = 0, 18

_PG_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_PG = f"""
    SELECT l.seq, {_PG_TIME.format("l.at")}, l.kind, p.name, host(l.ip), l.version, l.state, l.namespace, l.pod, l.pod_uid,
           l.container_id, l.if_name, l.network, l.node, {_PG_TIME.format("l.until")}, l.reason, l.actor, l.spec::text, l.xid
    FROM ledger l LEFT JOIN pool p ON p.id = l.pool_id
"""  # noqa: S608 - constants only; below, numbers only
_LISTED = "WHERE l.seq IN (SELECT value FROM json_each(?))"
_SQLITE = """
    SELECT l.seq, l.at, l.kind, p.name, l.ip, l.version, l.state, l.namespace, l.pod, l.pod_uid,
           l.container_id, l.if_name, l.network, l.node, l.until, l.reason, l.actor, l.spec, l.xid
    FROM ledger l LEFT JOIN pool p ON p.id = l.pool_id
"""

# What no open transaction can still write before: see design.md, "Order of events".
_SETTLED = "l.xid < pg_snapshot_xmin(pg_current_snapshot())"


def after(tx: Tx, cursor: Cursor, limit: int) -> list[Row]:
    """The next events in commit order, only those that nothing can come before any more."""
    if tx.sqlite:
        return _rows(tx, f"{_SQLITE} WHERE l.seq > ? ORDER BY l.seq LIMIT ?", (cursor.seq, limit))
    where = f"WHERE (l.xid, l.seq) > ('{int(cursor.xid)}'::xid8, {int(cursor.seq)}) AND {_SETTLED}"
    return _rows(tx, f"{_PG} {where} ORDER BY l.xid, l.seq LIMIT {int(limit)}")


def by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, Row]:
    """The events of these positions that there are."""
    if not seqs:
        return {}
    low, high = min(seqs), max(seqs)
    # Tree order is nearly seq order, so a range serves; only where a slow transaction tore it apart, a list
    dense = high - low < 4 * len(seqs) + 1_000
    if tx.sqlite:
        if dense:
            found = _rows(tx, f"{_SQLITE} WHERE l.seq BETWEEN ? AND ?", (low, high))
        else:
            listed = json.dumps(list(seqs))
            found = _rows(tx, _SQLITE + _LISTED, (listed,))
    else:
        where = f"l.seq BETWEEN {int(low)} AND {int(high)}"
        if not dense:
            where = f"l.seq = ANY('{{{','.join(str(int(s)) for s in seqs)}}}'::bigint[])"
        found = _rows(tx, f"{_PG} WHERE {where}")
    if len(found) > len(seqs):
        wanted = set(seqs)
        return {row[SEQ]: row for row in found if row[SEQ] in wanted}
    return {row[SEQ]: row for row in found}


def _rows(tx: Tx, query: str, parameters: tuple[Any, ...] = ()) -> list[Row]:
    driver: Any = tx.connection.connection.driver_connection
    if tx.sqlite:
        found: list[Row] = driver.execute(query, parameters).fetchall()
        return [_with_spec(row) if row[17] is not None else row for row in found]
    with driver.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return [
            (
                int(row[0]),
                *row[1:5],
                int(row[5]),
                *row[6:17],
                None if row[17] is None else json.loads(row[17]),
                int(row[18]),
            )
            for row in copy.rows()
        ]


def _with_spec(row: Row) -> Row:
    return (*row[:17], json.loads(row[17]), row[18])


def event_of(row: Row) -> Event:
    return Event(
        seq=row[0],
        at=parse_rfc3339(row[1]),
        kind=Kind(row[2]),
        pool=row[3],
        ip=row[4],
        version=row[5],
        state=State(row[6]) if row[6] else None,
        owner=Owner(row[7], row[8], row[9]),
        attachment=Attachment(row[10] or "", row[11] or "", row[12] or ""),
        node=row[13],
        until=parse_rfc3339(row[14]) if row[14] else None,
        reason=row[15],
        actor=row[16],
        spec=row[17],
    )


def cursor_of(row: Row) -> Cursor:
    return Cursor(row[XID], row[SEQ])


def settled_until(tx: Tx, cursor: Cursor) -> Iterator[int]:
    """The positions of all events up to a cursor, in no order."""
    if tx.sqlite:
        query, parameters = "SELECT seq FROM ledger WHERE seq <= ?", (cursor.seq,)
    else:
        query = "SELECT seq FROM ledger WHERE (xid, seq) <= (%s::text::xid8, %s)"
        parameters = (str(cursor.xid), cursor.seq)  # type: ignore[assignment]
    for (seq,) in tx.connection.execution_options(yield_per=10_000).exec_driver_sql(query, parameters):
        yield int(seq)
