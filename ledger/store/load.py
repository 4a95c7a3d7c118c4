"""Bulk writing into an empty database: events as they were, and the projections that they make, all set-wise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ledger.events import Cursor
from ledger.schema import address, ledger, pool, seal
from ledger.store.database import Tx
from ledger.store.stream import Row

_COLUMNS = (
    "seq, xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name, network, node, until, "
    "reason, actor, spec"
)
# SQLite's guard looks up the stream at every insert, so those indexes stay there
_INDEXES = ("ledger_pod_idx", "ledger_at_idx", "ledger_commit_idx")
_STREAMS = ("ledger_stream_key", "ledger_pool_stream_key")

# COPY's text format (PostgreSQL manual, COPY, "Text Format")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
)


def is_empty(tx: Tx) -> bool:
    """Whether the database holds nothing that an import could spoil."""
    return not any(
        tx.execute(sa.select(1).select_from(table).limit(1)).first() for table in (ledger, pool, seal)
    )


def unfinished(tx: Tx) -> bool:
    """Whether an import began here and did not end: all that is here was imported, and no pool lives yet."""
    sealed = tx.execute(sa.select(sa.func.sum(seal.c.count))).scalar() or 0
    events = tx.execute(sa.select(sa.func.count()).select_from(ledger)).scalar_one()
    live = tx.execute(
        sa.select(1).select_from(pool).where(sa.or_(pool.c.live, pool.c.version > 0)).limit(1)
    ).first()
    return bool(events) and events == sealed and live is None


def prepare(tx: Tx) -> None:
    """Make room: without secondary indexes loading is several times faster. They come back in :func:`finish`."""
    for name in _INDEXES if tx.sqlite else (*_INDEXES, *_STREAMS):
        tx.connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")


def may_load(tx: Tx) -> bool:
    """Whether this user owns the tables: indexes go and come, and the sequence is set."""
    if tx.sqlite:
        return True
    return bool(
        tx.connection.exec_driver_sql(
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'ledger'::regclass"
        ).scalar_one()
    )


def pool_ids(tx: Tx) -> dict[str, int]:
    return {name: int(number) for number, name in tx.execute(sa.select(pool.c.id, pool.c.name))}


def create_pool(tx: Tx, name: str) -> int:
    """A pool that is not live yet, so that its events have something to belong to."""
    values = {
        "name": name,
        "address_space": "",
        "cooldown_seconds": 0,
        "version": 0,
        "live": False,
        "spec": {},
    }
    return int(tx.execute(sa.insert(pool).values(**values).returning(pool.c.id)).scalar_one())


def insert(tx: Tx, rows: Sequence[Row], plain: Sequence[bool], pools: Mapping[str, int]) -> Cursor:
    """Append events with their own positions; returns the cursor behind them all.

    ``plain``: of which rows no field needs escaping. The order of the seals is kept beside; here all are of one transaction.
    """
    newest = max(row[0] for row in rows)
    driver: Any = tx.connection.connection.driver_connection
    if tx.sqlite:
        marks = ", ".join("?" * 19)
        driver.executemany(
            f"INSERT INTO ledger ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
            [_values(row, pools) for row in rows],
        )
        return Cursor(0, newest)
    xid = int(tx.connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())
    text = str(xid)
    lines = [
        _plain(row, pools[row[3]], text) if easy else _escaped(row, pools, text)
        for row, easy in zip(rows, plain, strict=True)
    ]
    with driver.cursor() as cursor, cursor.copy(f"COPY ledger ({_COLUMNS}) FROM STDIN") as copy:
        for at in range(0, len(lines), 1_000):
            copy.write("".join(lines[at : at + 1_000]))
    return Cursor(xid, newest)


def _plain(row: Row, pool_id: int, xid: str) -> str:
    (
        seq,
        at,
        kind,
        _,
        ip,
        version,
        state,
        namespace,
        pod,
        uid,
        container,
        if_name,
        network,
        node,
        _,
        reason,
        actor,
    ) = row[:17]
    return (
        f"{seq}\t{xid}\t{at}\t{pool_id}\t{ip}\t{version}\t{kind}\t{state}\t{namespace}\t{pod}\t{uid}\t{container}\t{if_name}\t"
        f"{network}\t{node}\t\\N\t{reason}\t{actor}\t\\N\n"
    )


def _values(row: Row, pools: Mapping[str, int]) -> tuple[Any, ...]:
    (
        seq,
        at,
        kind,
        name,
        ip,
        version,
        state,
        namespace,
        pod,
        uid,
        container,
        if_name,
        network,
        node,
        until,
        reason,
        actor,
    ) = row[:17]
    if ip is not None:  # an attachment's text may be empty, which a leaf shows as null
        container, if_name, network = container or "", if_name or "", network or ""
    spec = (
        None
        if row[17] is None
        else json.dumps(row[17], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    )
    return (
        seq, 0, at, pools[name], ip, version, kind, state, namespace, pod, uid, container, if_name, network, node, until,
        reason, actor, spec,
    )  # fmt: skip


def _escaped(row: Row, pools: Mapping[str, int], xid: str) -> str:
    values = list(_values(row, pools))
    values[1] = xid
    return "\t".join("\\N" if v is None else str(v).translate(_ESCAPES) for v in values) + "\n"


def finish(tx: Tx) -> None:
    """Indexes, and the sequence behind the newest event."""
    if not tx.sqlite:
        tx.connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
        tx.connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('ledger', 'seq'), greatest(max(seq), 1)) FROM ledger"
        )
    for index in sorted(ledger.indexes, key=lambda index: str(index.name)):
        index.create(tx.connection, checkfirst=True)
    tx.connection.exec_driver_sql("ANALYZE ledger")


def newest_pool_events(tx: Tx) -> list[tuple[int, str, int, str, Any]]:
    """``(pool id, name, version, kind, spec)`` of each pool's newest event."""
    newest = (
        sa.select(ledger.c.pool_id, sa.func.max(ledger.c.version).label("version"))
        .where(ledger.c.ip.is_(None))
        .group_by(ledger.c.pool_id)
        .subquery()
    )
    query = (
        sa.select(ledger.c.pool_id, pool.c.name, ledger.c.version, ledger.c.kind, ledger.c.spec)
        .join(
            newest,
            sa.and_(
                ledger.c.pool_id == newest.c.pool_id,
                ledger.c.version == newest.c.version,
                ledger.c.ip.is_(None),
            ),
        )
        .join(pool, pool.c.id == ledger.c.pool_id)
        .order_by(ledger.c.pool_id)
    )
    return [tuple(row) for row in tx.execute(query)]


def used_addresses(tx: Tx, pool_id: int) -> list[str]:
    """Every address of a pool that ever had an event."""
    query = sa.select(ledger.c.ip).where(
        ledger.c.pool_id == pool_id, ledger.c.ip.is_not(None), ledger.c.version == 1
    )
    return list(tx.execute(query).scalars())


_STATE = """
INSERT INTO address (pool_id, ip, family, sub, rnd, version, state, since, owner, namespace, pod, pod_uid, container_id,
                     if_name, network, node, until)
SELECT l.pool_id, l.ip, {family}, -1, NULL, l.version, l.state, l.at,
       CASE WHEN l.namespace IS NOT NULL AND l.pod IS NOT NULL THEN l.namespace || '/' || l.pod ELSE l.container_id END,
       l.namespace, l.pod, l.pod_uid, l.container_id, l.if_name, l.network, l.node, l.until
FROM ledger l
JOIN (SELECT pool_id, ip, max(version) AS version FROM ledger WHERE ip IS NOT NULL GROUP BY pool_id, ip) n
  ON n.pool_id = l.pool_id AND n.ip = l.ip AND n.version = l.version
WHERE true
ON CONFLICT (pool_id, ip) DO UPDATE
SET version = excluded.version, state = excluded.state, since = excluded.since, owner = excluded.owner,
    namespace = excluded.namespace, pod = excluded.pod, pod_uid = excluded.pod_uid, container_id = excluded.container_id,
    if_name = excluded.if_name, network = excluded.network, node = excluded.node, until = excluded.until
"""


def set_state(tx: Tx) -> None:
    """Give every address that was ever used the state of its newest event. Those without a row get one, out of the picking order."""
    family = "CASE WHEN instr(l.ip, ':') > 0 THEN 6 ELSE 4 END" if tx.sqlite else "family(l.ip)"
    if not tx.sqlite:
        tx.connection.exec_driver_sql("SET LOCAL work_mem = '256MB'")
    tx.connection.exec_driver_sql(_STATE.format(family=family))
    tx.connection.exec_driver_sql(f"ANALYZE {address.name}")
