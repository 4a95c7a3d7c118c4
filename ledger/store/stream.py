"""Reading many events fast: what seals, exports and verification stream through.

A row is a tuple: the columns in the order of ``ROW``, then ``xid``. ``spec`` is parsed; ``seq``, ``version`` and ``xid``
are numbers; everything else is text as it stands in the leaf (:mod:`ledger.store.leaves`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from ledger.events import Attachment, Cursor, Event, Kind, Owner, State, parse_rfc3339
from ledger.schema import ledger, pool
from ledger.store.database import Tx

Row = tuple[Any, ...]


ROW = (
    "seq", "at", "kind", "pool", "ip", "version", "state", "namespace", "pod", "podUID", "containerID", "ifName", "network",
    "node", "until", "reason", "actor", "spec",
)  # fmt: skip
SEQ, AT, POOL, XID = 0, 1, 3, 18

COPY_NULL = r"\N"
"""How COPY writes a null: no other field can be that, since a backslash of a value comes doubled."""

PG_TIME = """(to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
             || CASE WHEN {0} < timestamptz '0001-01-01 00:00:00+00' THEN ' BC' ELSE '' END)"""
PG_IP = "nullif(concat(l.ip), '')"
"""With the length of its prefix, should somebody have given it one."""
_PG = f"""
    SELECT l.seq, {PG_TIME.format("l.at")}, l.kind, p.name, {PG_IP}, l.version, l.state, l.namespace, l.pod, l.pod_uid,
           l.container_id, l.if_name, l.network, l.node, {PG_TIME.format("l.until")}, l.reason, l.actor, l.spec::text, l.xid
    FROM ledger l LEFT JOIN pool p ON p.id = l.pool_id
"""  # noqa: S608 - constants only; below, numbers only
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
    return _rows(tx, f"{_PG} {following(cursor, limit)}")


def skip(tx: Tx, cursor: Cursor, count: int) -> Cursor | None:
    """The cursor behind the next ``count`` events of :func:`after`; None while there are fewer."""
    run = tx.connection.exec_driver_sql
    if tx.sqlite:
        query = "SELECT l.xid, l.seq FROM ledger l WHERE l.seq > ? ORDER BY l.seq LIMIT 1 OFFSET ?"
        found = run(query, (cursor.seq, count - 1)).first()
    else:
        query = (
            f"SELECT l.xid::text::bigint, l.seq FROM ledger l {following(cursor, 1)} OFFSET {int(count) - 1}"  # noqa: S608 - numbers only
        )
        found = run(query).first()
    return Cursor(*found) if found else None


def following(cursor: Cursor, limit: int, *, settled: bool = True) -> str:
    """PostgreSQL's clauses for the next of ``ledger l`` in commit order. ``settled`` False: also what others may still come before."""
    where = f"WHERE (l.xid, l.seq) > ('{int(cursor.xid)}'::xid8, {int(cursor.seq)})"
    if settled:
        where += f" AND {_SETTLED}"
    return f"{where} ORDER BY l.xid, l.seq LIMIT {int(limit)}"


def by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, Row]:
    """The events of these positions that there are."""
    if not seqs:
        return {}
    where, parameters = these(tx, seqs)
    found = _rows(tx, f"{_SQLITE if tx.sqlite else _PG} {where}", parameters)
    wanted = set(seqs)
    return {row[SEQ]: row for row in found if row[SEQ] in wanted}


def these(tx: Tx, seqs: Sequence[int]) -> tuple[str, tuple[Any, ...]]:
    """The clause, and its parameters, for these of ``ledger l``, and perhaps for others between them.

    Tree order is nearly seq order, so a range serves; only where a slow transaction tore it apart, a list.
    """
    if max(seqs) - min(seqs) < 4 * len(seqs) + 1_000:
        return f"WHERE l.seq BETWEEN {int(min(seqs))} AND {int(max(seqs))}", ()
    if tx.sqlite:
        return "WHERE l.seq IN (SELECT value FROM json_each(?))", (json.dumps(list(seqs)),)
    return f"WHERE l.seq = ANY('{{{','.join(str(int(s)) for s in seqs)}}}'::bigint[])", ()


def _rows(tx: Tx, query: str, parameters: tuple[Any, ...] = ()) -> list[Row]:
    driver: Any = tx.connection.connection.driver_connection
    if tx.sqlite:
        found: list[Row] = driver.execute(query, parameters).fetchall()
        return [_with_spec(row) if row[17] is not None else row for row in found]
    with driver.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return [_parse(str(line, "utf-8")) for line in copy]


def _parse(line: str) -> Row:
    """A line of COPY's text format. Three times as fast as the driver's own, which must expect any format."""
    fields = line[:-1].split("\t")
    row: list[Any] = [None if f == COPY_NULL else f for f in fields]
    if line.count("\\") != row.count(None):
        row = [unescape(f) for f in fields]
    row[0], row[5], row[18] = int(row[0]), int(row[5]), int(row[18])
    if row[17] is not None:
        row[17] = json.loads(row[17])
    return tuple(row)


_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescape(field: str) -> str | None:
    """What a field of COPY's text format stands for."""
    return None if field == COPY_NULL else _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), field)


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


def first_of_pool(tx: Tx, name: str, limit: int) -> tuple[int, list[int]]:
    """The id of a pool's row, and the first positions of its events."""
    number = tx.execute(sa.select(pool.c.id).where(pool.c.name == name)).scalar_one()
    query = sa.select(ledger.c.seq).where(ledger.c.pool_id == number).order_by(ledger.c.seq).limit(limit)
    return int(number), list(tx.execute(query).scalars())


def count(tx: Tx) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(ledger)).scalar_one())


def foreign(tx: Tx) -> bool:
    """Whether an event names a transaction that this server has not begun: then it was restored here from another's dump, and
    the order of commits cannot be told."""
    if tx.sqlite:
        return False
    query = "SELECT EXISTS (SELECT 1 FROM ledger WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))"
    return bool(tx.connection.exec_driver_sql(query).scalar_one())


FOREIGN = (
    "its events name transactions that this server has not begun (pg_dump?), so what is written now cannot be put in order behind "
    "them: `ipam-ledger replay --into` a new database, and go on there"
)


def cursor_of(row: Row) -> Cursor:
    return Cursor(row[XID], row[SEQ])


def settled_until(tx: Tx, cursor: Cursor) -> Iterator[int]:
    """The positions of all events up to a cursor, in no order."""
    return _positions(tx, sa.not_(_behind(tx, cursor)))


def behind(tx: Tx, cursor: Cursor, newest: int) -> Iterator[int]:
    """The positions up to ``newest`` of events behind a cursor, in no order."""
    return _positions(tx, sa.and_(_behind(tx, cursor), ledger.c.seq <= newest))


def _behind(tx: Tx, cursor: Cursor) -> sa.ColumnElement[bool]:
    if tx.sqlite:
        return ledger.c.seq > cursor.seq
    end = sa.tuple_(sa.literal_column(f"'{int(cursor.xid)}'::xid8"), sa.literal(cursor.seq, sa.BigInteger))
    return sa.tuple_(ledger.c.xid, ledger.c.seq) > end


def _positions(tx: Tx, where: sa.ColumnElement[bool]) -> Iterator[int]:
    with tx.execute(sa.select(ledger.c.seq).where(where).execution_options(yield_per=10_000)) as found:
        for (seq,) in found:
            yield int(seq)
