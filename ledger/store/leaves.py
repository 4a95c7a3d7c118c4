"""The ledger's events as their leaves (see :mod:`ledger.canonical`), by the ten thousand: what is sealed, exported and proven.

RFC 8785 asks for sorted keys, no spaces, and JSON's shortest escapes. The databases put the leaves together: SQLite's
``json_object`` writes just that; PostgreSQL's JSON functions do too, but take twice as long as ``concat``, which escapes
nothing. What needs an escape there, and the few events of pools, take the long road through the ``rfc8785`` package.

Who wants only the hashes of the leaves has PostgreSQL make them: 32 bytes travel instead of 400.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ledger.canonical import FIELDS, MAX_SAFE, canonical
from ledger.errors import LedgerCorrupt
from ledger.events import Cursor
from ledger.merkle import leaf_hash
from ledger.store import stream
from ledger.store.database import Tx
from ledger.store.stream import PG_IP, PG_TIME


class Leaves(NamedTuple):
    """Columns of equal length: positions, writing transactions, leaves or their hashes."""

    seqs: list[int]
    xids: list[int]
    data: list[bytes]

    def cursor(self, index: int = -1) -> Cursor:
        """Behind one of them."""
        return Cursor(self.xids[index], self.seqs[index])


_VALUES = {
    "at": "l.at",
    "containerID": "nullif(l.container_id, '')",
    "ifName": "nullif(l.if_name, '')",
    "ip": "l.ip",
    "network": "nullif(l.network, '')",
    "podUID": "l.pod_uid",
    "pool": "p.name",
    "until": "l.until",
}
_VALUE_OF = {name: _VALUES.get(name, f"l.{name}") for name in FIELDS}
_FROM = "FROM ledger l LEFT JOIN pool p ON p.id = l.pool_id"
_NUMBERS = ("seq", "version")

# One row for all of them: the driver lets go of the interpreter at each.
_SQLITE = f"""
    SELECT '[' || group_concat(seq) || ']', CAST(group_concat(coalesce(leaf, ''), x'0a') AS BLOB) FROM (
        SELECT l.seq, CASE WHEN l.spec IS NULL AND l.version <= {MAX_SAFE} THEN
            json_object({", ".join(f"'{name}', {value}" for name, value in _VALUE_OF.items())}) END AS leaf
        {_FROM} {{}})
"""  # noqa: S608 - constants only

_PG_VALUE_OF = _VALUE_OF | {name: PG_TIME.format(_VALUES[name]) for name in ("at", "until")} | {"ip": PG_IP}


def _pg_field(name: str, value: str, before: str) -> str:
    if name in _NUMBERS:
        return f"""'{before}"{name}":', {value}"""
    return f"""coalesce('{before}"{name}":"' || {value} || '"', '{before}"{name}":null')"""


_PG_LEAF = f"""convert_to(concat({
    ", ".join(
        _pg_field(name, value, "," if n else "{") for n, (name, value) in enumerate(_PG_VALUE_OF.items())
    )
}, '}}'), 'UTF8')"""
_PG_TEXTS = [value for name, value in _VALUE_OF.items() if name not in (*_NUMBERS, "at", "until", "ip")]
_PG = f"""
    SELECT array_agg(seq), array_agg(xid), array_agg(leaf) FROM (
        SELECT l.seq, l.xid::text::bigint AS xid, CASE WHEN l.spec IS NULL
               AND strpos(to_json(concat({", ".join(_PG_TEXTS)}))::text, '\\') = 0 THEN {{}} END AS leaf
        {_FROM} {{}}) AS found
"""  # noqa: S608 - constants only
"""JSON's escapes begin with a backslash. No text of ours is one without."""
_PG_HASH = rf"sha256('\x00'::bytea || {_PG_LEAF})"


def after(tx: Tx, cursor: Cursor, limit: int, *, settled: bool = True) -> Leaves:
    """As :func:`ledger.store.stream.after`. LedgerCorrupt names an event that has no canonical form.

    ``settled`` False: everything that this snapshot sees; what comes next may belong before it.
    """
    return _leaves(tx, *_after(tx, cursor, limit, settled=settled))


def after_seq(tx: Tx, seq: int, limit: int) -> Leaves:
    """The next events in the order of their positions: no order of commits, but within each stream that of its versions."""
    return _leaves(tx, f"WHERE l.seq > {int(seq)} ORDER BY l.seq LIMIT {int(limit)}", ())


def hashes_after(tx: Tx, cursor: Cursor, limit: int) -> Leaves:
    """The same with the hashes of the leaves (:func:`ledger.merkle.leaf_hash`)."""
    return _hashes(tx, *_after(tx, cursor, limit))


def by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    """The leaves of the events of these positions that there are."""
    return _by_seq(tx, seqs, _leaves)


def hashes_by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    """The same with their hashes."""
    return _by_seq(tx, seqs, _hashes)


def hashes_around(tx: Tx, seqs: Sequence[int]) -> Leaves:
    """The same, with their transactions, and perhaps of others between them; in no order."""
    return _hashes(tx, *stream.these(tx, seqs))


_Where = tuple[str, tuple[Any, ...]]


def _after(tx: Tx, cursor: Cursor, limit: int, *, settled: bool = True) -> _Where:
    if tx.sqlite:
        return "WHERE l.seq > ? ORDER BY l.seq LIMIT ?", (cursor.seq, limit)
    return stream.following(cursor, limit, settled=settled), ()


def _by_seq(tx: Tx, seqs: Sequence[int], read: Callable[..., Leaves]) -> dict[int, bytes]:
    if not seqs:
        return {}
    found = read(tx, *stream.these(tx, seqs))
    wanted = set(seqs)
    return {seq: data for seq, data in zip(found.seqs, found.data, strict=True) if seq in wanted}


def _leaves(tx: Tx, where: str, parameters: tuple[Any, ...]) -> Leaves:
    seqs, xids, data = _sqlite(tx, where, parameters) if tx.sqlite else _postgresql(tx, _PG_LEAF, where)
    return Leaves(seqs, xids, _whole(tx, seqs, data, lambda leaf: leaf))


def _hashes(tx: Tx, where: str, parameters: tuple[Any, ...]) -> Leaves:
    if tx.sqlite:
        found = _leaves(tx, where, parameters)
        return found._replace(data=list(map(leaf_hash, found.data)))
    seqs, xids, data = _postgresql(tx, _PG_HASH, where)
    return Leaves(seqs, xids, _whole(tx, seqs, data, leaf_hash))


_Found = tuple[list[int], list[int], list[bytes | None]]
"""As ``Leaves``, with None where an event takes the long road."""


def _sqlite(tx: Tx, where: str, parameters: tuple[Any, ...]) -> _Found:
    driver: Any = tx.connection.connection.driver_connection
    try:
        (found,) = driver.execute(_SQLITE.format(where), parameters)
    except sqlite3.OperationalError:  # a blob where text should be; the long road says in which event
        seqs = [seq for (seq,) in driver.execute(f"SELECT l.seq {_FROM} {where}", parameters)]
        return seqs, [0] * len(seqs), [None] * len(seqs)
    seqs = json.loads(found[0]) if found[0] else []
    return seqs, [0] * len(seqs), [leaf or None for leaf in found[1].split(b"\n")] if seqs else []


def _postgresql(tx: Tx, what: str, where: str) -> _Found:
    """Several of its processes share the work, which the planner takes for none: it is in the columns, not in the rows."""
    tx.connection.exec_driver_sql("SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0")
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        seqs, xids, data = cursor.execute(_PG.format(what, where)).fetchone()
    return seqs or [], xids or [], data or []


def _whole(tx: Tx, seqs: list[int], data: list[bytes | None], shape: Callable[[bytes], bytes]) -> list[bytes]:
    """What is missing in ``data`` comes by the long road, in this shape."""
    if seqs and max(seqs) > MAX_SAFE:
        raise LedgerCorrupt(
            f"event {max(seqs)} has no canonical form: its number is past 2**53", seq=max(seqs)
        )
    if None not in data:
        return data  # type: ignore[return-value] # mypy does not follow "in"
    long = _long(tx, [seq for seq, each in zip(seqs, data, strict=True) if each is None])
    return [shape(long[seq]) if each is None else each for seq, each in zip(seqs, data, strict=True)]


def _long(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    out = {}
    for seq, row in stream.by_seq(tx, seqs).items():
        try:
            out[seq] = canonical(stream.event_of(row).to_json())
        except (ValueError, TypeError) as error:
            raise LedgerCorrupt(f"event {seq} has no canonical form: {error}", seq=seq) from error
    return out
