"""Bulk writing into an empty database: events as they were, and the projections that they make, all set-wise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa

from ledger.schema import address, ledger, pool, seal
from ledger.store.database import Tx, json_text
from ledger.store.rows import Place
from ledger.store.stream import COPY_NULL, ROW, Row

_COLUMNS = (
    "seq, at, kind, pool_id, ip, version, state, namespace, pod, pod_uid, container_id, if_name, network, node, until, "
    "reason, actor, spec"
)
"""In the order of ``ROW``."""

# SQLite's guard looks up the stream at every insert, so those indexes stay there
_INDEXES = ("ledger_pod_idx", "ledger_at_idx", "ledger_commit_idx")
_STREAMS = ("ledger_stream_key", "ledger_pool_stream_key")

_SLICE = 1_024
"""Events written at a time: what stays in the processor's cache is done twice as fast."""

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


def insert(tx: Tx, rows: Sequence[Row], pools: Mapping[str, int]) -> int:
    """Append events with their own positions; returns the transaction that wrote them (0 on SQLite).

    The order of the seals is kept beside.
    """
    driver: Any = tx.connection.connection.driver_connection
    if tx.sqlite:
        # Many rows a statement, for the driver lets go of the interpreter at each
        marks = f"({', '.join('?' * len(ROW))}, 0)"
        for at in range(0, len(rows), _SLICE):
            found = list(zip(*_columns(rows[at : at + _SLICE], pools), strict=True))
            insert = f"INSERT INTO ledger ({_COLUMNS}, xid) VALUES {', '.join([marks] * len(found))}"  # noqa: S608 - constants only
            driver.execute(insert, list(chain.from_iterable(found)))
        return 0
    xid = tx.connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()
    end = f"\t{xid}\n"
    with driver.cursor() as cursor, cursor.copy(f"COPY ledger ({_COLUMNS}, xid) FROM STDIN") as copy:
        for at in range(0, len(rows), _SLICE):
            columns = map(_copied, _columns(rows[at : at + _SLICE], pools))
            copy.write(end.join(map("\t".join, zip(*columns, strict=True))) + end)
    return int(xid)


def _columns(rows: Sequence[Row], pools: Mapping[str, int]) -> list[Sequence[Any]]:
    """Those of ``_COLUMNS``."""
    of: dict[str, Sequence[Any]] = dict(zip(ROW, zip(*rows, strict=True), strict=True))
    of["pool"] = [pools[name] for name in of["pool"]]
    for name in ("containerID", "ifName", "network"):
        if None in of[name]:  # an attachment's text may be empty, which a leaf shows as null
            pairs = zip(of[name], of["ip"], strict=True)
            of[name] = [None if ip is None else text or "" for text, ip in pairs]
    of["spec"] = [None if spec is None else json_text(spec) for spec in of["spec"]]
    return list(of.values())


def _copied(column: Sequence[Any]) -> Sequence[str]:
    """A column in COPY's text format."""
    try:
        texts, all_of_it = column, "".join(column)
    except TypeError:  # there are nulls, or numbers
        return [
            COPY_NULL if value is None else str(value) if type(value) is int else value.translate(_ESCAPES)
            for value in column
        ]
    if "\\" in all_of_it or not all_of_it.isprintable():
        return [text.translate(_ESCAPES) for text in texts]
    return texts


def finish(tx: Tx) -> None:
    """Indexes, and the sequence behind the newest event."""
    if not tx.sqlite:
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


# The state. Two tables for the time of the transaction, so that every address is written once, as it is in the end.
_NEWEST = """
    CREATE TEMPORARY TABLE newest AS
    SELECT pool_id, ip, max(version) AS version FROM ledger WHERE ip IS NOT NULL GROUP BY pool_id, ip
"""
_NEWEST_KEY = "CREATE UNIQUE INDEX newest_key ON newest (pool_id, ip)"
_PLACED = """
    CREATE TEMPORARY TABLE placed (pool_id int, ip {ip}, family int, sub int, rnd bigint, PRIMARY KEY (pool_id, ip))
"""
_ADDRESS = """
    INSERT INTO address (pool_id, ip, family, sub, rnd, version, state, since, owner, namespace, pod, pod_uid, container_id,
                         if_name, network, node, until)
    SELECT {place}, coalesce(l.version, 0), coalesce(l.state, 'free'), l.at,
           CASE WHEN l.namespace IS NOT NULL AND l.pod IS NOT NULL THEN l.namespace || '/' || l.pod ELSE l.container_id END,
           l.namespace, l.pod, l.pod_uid, l.container_id, l.if_name, l.network, l.node, l.until
    FROM {source} ledger l ON l.pool_id = n.pool_id AND l.ip = n.ip AND l.version = n.version
    WHERE {where}
"""
_OF_A_PLACE = _ADDRESS.format(
    place="p.pool_id, p.ip, p.family, p.sub, p.rnd",
    source="placed p LEFT JOIN newest n ON n.pool_id = p.pool_id AND n.ip = p.ip LEFT JOIN",
    where="true",
)
_WITHOUT_ONE = _ADDRESS.format(
    place="n.pool_id, n.ip, {family}, -1, NULL",
    source="newest n JOIN",
    where="NOT EXISTS (SELECT 1 FROM placed p WHERE p.pool_id = n.pool_id AND p.ip = n.ip)",
)


def begin_state(tx: Tx) -> None:
    """Before :func:`place`: find the newest event of every address. The indexes of ``address`` go until :func:`end_state`."""
    run = tx.connection.exec_driver_sql
    if not tx.sqlite:
        run("SET LOCAL work_mem = '256MB'")
        run("SET LOCAL random_page_cost = 1.1")  # a vacuumed index is quicker to read than the table
    for index in address.indexes:
        index.drop(tx.connection)
    run(_NEWEST)
    run(_NEWEST_KEY)
    run(_PLACED.format(ip="text" if tx.sqlite else "inet"))


def used_addresses(tx: Tx, pool_id: int) -> list[str]:
    """Every address of a pool that ever had an event."""
    ip, mark = ("ip", "?") if tx.sqlite else ("host(ip)", "%s")
    query = f"SELECT {ip} FROM newest WHERE pool_id = {mark}"  # noqa: S608 - constants only
    return list(tx.connection.exec_driver_sql(query, (pool_id,)).scalars())


def place(tx: Tx, pool_id: int, places: Iterable[Place]) -> None:
    """Addresses that belong to a sub, each once."""
    driver: Any = tx.connection.connection.driver_connection
    if tx.sqlite:
        found = ((pool_id, p.ip, p.family, p.sub, p.rnd) for p in places)
        driver.executemany("INSERT INTO placed VALUES (?, ?, ?, ?, ?)", found)
        return
    lines = (
        f"{pool_id}\t{p.ip}\t{p.family}\t{p.sub}\t{COPY_NULL if p.rnd is None else p.rnd}\n" for p in places
    )
    with driver.cursor() as cursor, cursor.copy("COPY placed FROM STDIN") as copy:
        while some := list(islice(lines, _SLICE)):
            copy.write("".join(some))


def end_state(tx: Tx) -> None:
    """Write every address that has a place or was ever used, with the state of its newest event."""
    run = tx.connection.exec_driver_sql
    for table in ("newest", "placed"):
        run(f"ANALYZE {table}")
    run(_OF_A_PLACE)
    run(
        _WITHOUT_ONE.format(
            family="CASE WHEN instr(n.ip, ':') > 0 THEN 6 ELSE 4 END" if tx.sqlite else "family(n.ip)"
        )
    )
    for table in ("newest", "placed"):
        run(f"DROP TABLE {table}")
    for index in sorted(address.indexes, key=lambda index: str(index.name)):
        index.create(tx.connection)
    run(f"ANALYZE {address.name}")
