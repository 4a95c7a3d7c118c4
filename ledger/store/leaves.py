"""The ledger's events as their leaves (see :mod:`ledger.canonical`), by the ten thousand: what is sealed, exported and proven.

RFC 8785 asks for sorted keys, no spaces, and JSON's shortest escapes. SQLite's ``json_object`` writes just that. PostgreSQL's
``row_to_json`` does too, but takes longer than COPY of the columns and a format string over each line. What needs an
escape, and the few events of pools, take the long road through the ``rfc8785`` package.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from ledger.canonical import FIELDS, MAX_SAFE, canonical
from ledger.errors import LedgerCorrupt
from ledger.events import Cursor
from ledger.store import stream
from ledger.store.database import Tx
from ledger.store.stream import COPY_NULL, PG_TIME


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
_SQLITE = f"""
    SELECT l.seq, l.xid, CASE WHEN l.spec IS NULL AND l.version <= {MAX_SAFE} THEN
        json_object({", ".join(f"'{name}', {value}" for name, value in _VALUE_OF.items())}) END
    {_FROM}
"""
_PG_VALUE_OF = (
    _VALUE_OF | {name: PG_TIME.format(_VALUES[name]) for name in ("at", "until")} | {"ip": "host(l.ip)"}
)
_PG = f"SELECT {', '.join(_PG_VALUE_OF.values())}, l.spec::text, l.xid {_FROM}"

_SEQ = FIELDS.index("seq")
_NUMBERS = ("seq", "version")
_NULL = COPY_NULL.encode()
_LEAF = b"{%b}" % b",".join(
    b'"%b":%%b' % name.encode() if name in _NUMBERS else b'"%b":"%%b"' % name.encode() for name in FIELDS
)
_ESCAPED = bytes([*range(9), *range(11, 32), ord('"')])
"""What JSON escapes and may stand in a line of COPY as it is: all but the backslash, the tab and the newline."""


def after(tx: Tx, cursor: Cursor, limit: int, *, settled: bool = True) -> Leaves:
    """As :func:`ledger.store.stream.after`. LedgerCorrupt names an event that has no canonical form.

    ``settled`` False: everything that this snapshot sees; what comes next may belong before it.
    """
    if tx.sqlite:
        return _sqlite(tx, "WHERE l.seq > ? ORDER BY l.seq LIMIT ?", (cursor.seq, limit))
    return _copied(tx, stream.following(cursor, limit, settled=settled))


def by_seq(tx: Tx, seqs: Sequence[int]) -> dict[int, bytes]:
    """The leaves of the events of these positions that there are."""
    if not seqs:
        return {}
    where, parameters = stream.these(tx, seqs)
    found = _sqlite(tx, where, parameters) if tx.sqlite else _copied(tx, where)
    wanted = set(seqs)
    return {seq: data for seq, data in zip(found.seqs, found.data, strict=True) if seq in wanted}


def _sqlite(tx: Tx, where: str, parameters: tuple[Any, ...]) -> Leaves:
    driver: Any = tx.connection.connection.driver_connection
    try:
        found = driver.execute(f"{_SQLITE} {where}", parameters).fetchall()
    except sqlite3.OperationalError:  # a blob where text should be; the long road says in which event
        found = driver.execute(f"SELECT l.seq, l.xid, NULL {_FROM} {where}", parameters).fetchall()
    seqs, xids, texts = map(list, zip(*found, strict=True)) if found else ([], [], [])
    data = [_long(tx, seq) if text is None else text.encode() for seq, text in zip(seqs, texts, strict=True)]
    return _sized(Leaves(seqs, xids, data))


def _long(tx: Tx, seq: int) -> bytes:
    row = stream.by_seq(tx, [seq])[seq]
    try:
        return canonical(stream.event_of(row).to_json())
    except (ValueError, TypeError) as error:
        raise LedgerCorrupt(f"event {seq} has no canonical form: {error}", seq=seq) from error


def _copied(tx: Tx, query: str) -> Leaves:
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY ({_PG} {query}) TO STDOUT") as copy:
        block = b"".join(copy)
    plain = _is_plain(block)
    out = Leaves([], [], [])
    for line in block.split(b"\n")[:-1]:
        fields = line.split(b"\t")
        out.seqs.append(int(fields[_SEQ]))
        out.xids.append(int(fields[-1]))
        out.data.append(_plain(fields) if plain or _is_plain(line) else _escaped(fields))
    return _sized(out)


def _is_plain(block: bytes) -> bool:
    """Whether nothing in it needs an escape, here or there: each backslash is that of a null. (A spec holds quotes.)"""
    return block.count(b"\\") == block.count(_NULL) and len(block.translate(None, _ESCAPED)) == len(block)


def _plain(fields: Sequence[bytes]) -> bytes:
    return (_LEAF % tuple(fields[:-2])).replace(b'"\\N"', b"null")


def _escaped(fields: Sequence[bytes]) -> bytes:
    *values, spec, _ = (stream.unescape(field.decode()) for field in fields)
    event: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    event |= {name: int(event[name]) for name in _NUMBERS}
    if spec is not None:
        event["spec"] = json.loads(spec)
    try:
        return canonical(event)
    except ValueError as error:
        raise LedgerCorrupt(
            f"event {event['seq']} has no canonical form: {error}", seq=event["seq"]
        ) from error


def _sized(leaves: Leaves) -> Leaves:
    if leaves.seqs and max(leaves.seqs) > MAX_SAFE:
        raise LedgerCorrupt(
            f"event {max(leaves.seqs)} has no canonical form: its number is past 2**53", seq=max(leaves.seqs)
        )
    return leaves
