"""The ledger's events as their leaves (see :mod:`ledger.canonical`), by the ten thousand: what is sealed, exported and proven.

RFC 8785 asks for sorted keys, no spaces, and JSON's shortest escapes. The databases put the leaves together: SQLite's
``json_object`` writes just that; PostgreSQL's JSON functions do too, but take twice as long as ``concat``, which escapes
nothing. What needs an escape there, and the few events of pools, take the long road through the ``rfc8785`` package.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from ledger.canonical import FIELDS, MAX_SAFE, canonical
from ledger.errors import LedgerCorrupt
from ledger.events import Cursor
from ledger.store import stream
from ledger.store.database import Tx
from ledger.store.stream import PG_TIME


class Leaves(NamedTuple):
    """Columns of equal length: positions, writing transactions, leaves."""

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

_SQLITE = f"""
    SELECT l.seq, l.xid, CASE WHEN l.spec IS NULL AND l.version <= {MAX_SAFE} THEN
        CAST(json_object({", ".join(f"'{name}', {value}" for name, value in _VALUE_OF.items())}) AS BLOB) END
    {_FROM}
"""

_PG_VALUE_OF = (
    _VALUE_OF | {name: PG_TIME.format(_VALUES[name]) for name in ("at", "until")} | {"ip": "host(l.ip)"}
)
_PG_PARTS = (
    f"""'{"," if n else "{"}"{name}":', """
    + (value if name in _NUMBERS else f"""coalesce('"' || {value} || '"', 'null')""")
    for n, (name, value) in enumerate(_PG_VALUE_OF.items())
)
_PG = f"""
    SELECT l.seq, l.xid::text::bigint, CASE WHEN l.spec IS NULL THEN convert_to(concat({", ".join(_PG_PARTS)}, '}}'), 'UTF8') END
    {_FROM}
"""
_SPECIAL = bytes([*range(32), ord("\\"), ord('"')])
_QUOTES = 2 * len(FIELDS) + 2 * (len(FIELDS) - len(_NUMBERS))
"""In a leaf without nulls or escapes."""


def after(tx: Tx, cursor: Cursor, limit: int, *, settled: bool = True) -> Leaves:
    """As :func:`ledger.store.stream.after`. LedgerCorrupt names an event that has no canonical form.

    ``settled`` False: everything that this snapshot sees; what comes next may belong before it.
    """
    if tx.sqlite:
        return _leaves(tx, "WHERE l.seq > ? ORDER BY l.seq LIMIT ?", (cursor.seq, limit))
    return _leaves(tx, stream.following(cursor, limit, settled=settled))


def by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    """The leaves of the events of these positions that there are."""
    if not seqs:
        return {}
    found = _leaves(tx, *stream.these(tx, seqs))
    wanted = set(seqs)
    return {seq: data for seq, data in zip(found.seqs, found.data, strict=True) if seq in wanted}


def _leaves(tx: Tx, where: str, parameters: tuple[Any, ...] = ()) -> Leaves:
    found = _sqlite(tx, where, parameters) if tx.sqlite else _postgresql(tx, where)
    seqs, xids, data = map(list, zip(*found, strict=True)) if found else ([], [], [])
    if seqs and max(seqs) > MAX_SAFE:
        raise LedgerCorrupt(
            f"event {max(seqs)} has no canonical form: its number is past 2**53", seq=max(seqs)
        )
    if None in data:
        long = _long(tx, [seq for seq, leaf in zip(seqs, data, strict=True) if leaf is None])
        data = [long[seq] if leaf is None else leaf for seq, leaf in zip(seqs, data, strict=True)]
    return Leaves(seqs, xids, data)


_Found = list[tuple[int, int, bytes | None]]
"""Position, writing transaction, and the leaf, or None where it takes the long road."""


def _sqlite(tx: Tx, where: str, parameters: tuple[Any, ...]) -> _Found:
    driver: Any = tx.connection.connection.driver_connection
    try:
        found: _Found = driver.execute(f"{_SQLITE} {where}", parameters).fetchall()
    except sqlite3.OperationalError:  # a blob where text should be; the long road says in which event
        found = driver.execute(f"SELECT l.seq, l.xid, NULL {_FROM} {where}", parameters).fetchall()
    return found


def _postgresql(tx: Tx, where: str) -> _Found:
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        found: _Found = cursor.execute(f"{_PG} {where}").fetchall()
    if _are_plain([leaf for _, _, leaf in found if leaf is not None]):
        return found
    return [(seq, xid, leaf if leaf and _are_plain([leaf]) else None) for seq, xid, leaf in found]


def _are_plain(data: Sequence[bytes]) -> bool:
    """Whether nothing in these leaves needs an escape.

    Too many special characters say that something does. A value that holds ``:null`` makes fewer of them expected, so that
    no two can make up for each other.
    """
    block = b"".join(data)
    expected = _QUOTES * len(data) - 2 * block.count(b":null")
    return len(block) - len(block.translate(None, _SPECIAL)) == expected


def _long(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    out = {}
    for seq, row in stream.by_seq(tx, seqs).items():
        try:
            out[seq] = canonical(stream.event_of(row).to_json())
        except (ValueError, TypeError) as error:
            raise LedgerCorrupt(f"event {seq} has no canonical form: {error}", seq=seq) from error
    return out
