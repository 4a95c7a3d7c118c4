"""The tables of the past: seal batches, their nodes, checkpoints. See ledger.schema and ledger.merkle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.errors import LedgerCorrupt
from ledger.events import Cursor
from ledger.merkle import HASH, TILE, Node, TileReader
from ledger.schema import checkpoint, seal, seal_node
from ledger.store.database import Tx


@dataclass(frozen=True, slots=True)
class Batch:
    """Leaves that were sealed together, within one tile: ``first`` place in the tree, events in tree order."""

    first: int
    seqs: tuple[int, ...]
    hashes: bytes
    cursor: Cursor

    @property
    def end(self) -> int:
        return self.first + len(self.seqs)


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as the database has it. Nothing about it is believed before its note is opened."""

    origin: str
    size: int
    root: bytes
    note: str
    at: datetime


def runs(seqs: Sequence[int]) -> str:
    """``(3, 1, 2, 5, 6, 7)`` -> ``3,1-2,5-7``: short, since tree order is nearly seq order."""
    out: list[str] = []
    first = last = seqs[0]
    for seq in seqs[1:]:
        if seq == last + 1:
            last = seq
            continue
        out.append(f"{first}-{last}" if last > first else f"{first}")
        first = last = seq
    out.append(f"{first}-{last}" if last > first else f"{first}")
    return ",".join(out)


def from_runs(text: str) -> tuple[int, ...]:
    """The inverse of :func:`runs`. ValueError for what it cannot have written."""
    seqs: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        upto = int(last if dash else first)
        if not 0 <= upto - int(first) < TILE:
            raise ValueError(f"{part!r} is no run of at most a tile")
        seqs.extend(range(int(first), upto + 1))
    if runs(seqs) != text:
        raise ValueError(f"{text!r} is not how these positions are written")
    return tuple(seqs)


def in_tiles(first: int, seqs: Sequence[int], hashes: bytes, cursor: Callable[[int], Cursor]) -> list[Batch]:
    """Events in tree order from place ``first``, with their joined hashes, cut at the ends of tiles.

    ``cursor``: of the event of an index, behind which a batch ends.
    """
    out, at = [], 0
    while at < len(seqs):
        end = min(at + TILE - (first + at) % TILE, len(seqs))
        part = hashes[at * HASH : end * HASH]
        out.append(Batch(first + at, tuple(seqs[at:end]), part, cursor(end - 1)))
        at = end
    return out


def end(tx: Tx) -> tuple[int, Cursor]:
    """How many leaves are sealed, and the cursor after the last of them."""
    query = sa.select(seal.c.first, seal.c.count, seal.c.xid, seal.c.seq)
    row = tx.execute(query.order_by(seal.c.first.desc()).limit(1)).first()
    return (row[0] + row[1], Cursor(row[2], row[3])) if row else (0, Cursor())


def newest(tx: Tx) -> int:
    """The highest position that is sealed; 0 if none is."""
    return int(tx.execute(sa.select(sa.func.max(seal.c.max_seq))).scalar() or 0)


def add(tx: Tx, batches: Sequence[Batch], nodes: Sequence[Node]) -> None:
    """Append. Raises Conflict (PostgreSQL) if another sealer was faster."""
    if batches:
        marks = "?, ?, ?, ?, ?, ?, ?, ?" if tx.sqlite else "%s, %s, %s, %s, %s, %s, %s::text::xid8, %s"
        tx.connection.exec_driver_sql(
            f"INSERT INTO seal (first, count, min_seq, max_seq, seqs, hashes, xid, seq) VALUES ({marks})",  # noqa: S608
            [
                (
                    b.first,
                    len(b.seqs),
                    min(b.seqs),
                    max(b.seqs),
                    runs(b.seqs),
                    b.hashes,
                    b.cursor.xid if tx.sqlite else str(b.cursor.xid),
                    b.cursor.seq,
                )
                for b in batches
            ],
        )
    if nodes:
        tx.execute(sa.insert(seal_node), [{"level": n.level, "idx": n.index, "hash": n.hash} for n in nodes])


def batches(tx: Tx, first: int, limit: int) -> list[Batch]:
    """Batches in tree order, from the one that holds leaf ``first`` or follows it."""
    query = sa.select(seal).where(seal.c.first > first - TILE, seal.c.first + seal.c.count > first)
    query = query.order_by(seal.c.first).limit(limit)
    return [_batch(row) for row in tx.execute(query)]


def _batch(row: Any) -> Batch:
    batch = Batch(row.first, _events(row.first, row.seqs), bytes(row.hashes), Cursor(row.xid, row.seq))
    if (len(batch.seqs), min(batch.seqs), max(batch.seqs)) != (row.count, row.min_seq, row.max_seq):
        raise LedgerCorrupt(
            f"the seal at entry {row.first} is damaged: its columns disagree", first=row.first
        )
    return batch


def _events(first: int, text: str) -> tuple[int, ...]:
    try:
        return from_runs(text)
    except ValueError as error:
        raise LedgerCorrupt(f"the seal at entry {first} is damaged: {error}", first=first) from error


def sealed_among(tx: Tx, seqs: Sequence[int]) -> set[int]:
    """Those of these events that are sealed. Quick for those that are newer than what is sealed."""
    query = sa.select(seal).where(seal.c.max_seq >= min(seqs), seal.c.min_seq <= max(seqs))
    return {seq for row in tx.execute(query) for seq in _batch(row).seqs}.intersection(seqs)


def find(tx: Tx, seq: int) -> tuple[int, bytes] | None:
    """The place of an event in the tree and its leaf hash, or None while it is not sealed."""
    query = sa.select(seal.c.first, seal.c.seqs, seal.c.hashes).where(
        seal.c.max_seq >= seq, seal.c.min_seq <= seq
    )
    with tx.execute(query.order_by(seal.c.max_seq).execution_options(yield_per=16)) as found:
        for first, text, hashes in found:
            seqs = _events(first, text)
            if seq in seqs:
                at = seqs.index(seq)
                return first + at, bytes(hashes[at * HASH : (at + 1) * HASH])
    return None


def tiles(tx: Tx) -> TileReader:
    """The stored hashes, as ledger.merkle asks for them. What is missing comes back short."""

    def read(level: int, index: int, width: int) -> bytes:
        if level == 0:
            query = sa.select(seal.c.hashes).where(
                seal.c.first >= index * TILE, seal.c.first < index * TILE + width
            )
            return b"".join(tx.execute(query.order_by(seal.c.first)).scalars())[: width * HASH]
        node = sa.select(seal_node.c.hash).where(
            seal_node.c.level == level,
            seal_node.c.idx >= index * TILE,
            seal_node.c.idx < index * TILE + width,
        )
        return b"".join(tx.execute(node.order_by(seal_node.c.idx)).scalars())

    return read


def nodes(tx: Tx) -> Iterator[tuple[int, int, bytes]]:
    """All stored nodes: level, index, hash."""
    query = sa.select(seal_node.c.level, seal_node.c.idx, seal_node.c.hash)
    with tx.execute(query.execution_options(yield_per=1_000)) as found:
        for level, idx, digest in found:
            yield level, idx, bytes(digest)


def add_checkpoint(tx: Tx, origin: str, size: int, root: bytes, note: str) -> None:
    """Append. Raises Conflict (PostgreSQL) if this log has a checkpoint of this size already."""
    tx.execute(
        sa.insert(checkpoint).values(origin=origin, size=size, root=root, note=note, at=tx.clock()),
    )


def has_checkpoint(tx: Tx, origin: str, size: int) -> bool:
    query = sa.select(1).where(checkpoint.c.origin == origin, checkpoint.c.size == size)
    return tx.execute(query).first() is not None


def newest_checkpoint(tx: Tx, origin: str | None = None) -> StoredCheckpoint | None:
    query = sa.select(checkpoint).order_by(checkpoint.c.id.desc()).limit(1)
    row = tx.execute(query if origin is None else query.where(checkpoint.c.origin == origin)).first()
    return StoredCheckpoint(row.origin, row.size, bytes(row.root), row.note, row.at) if row else None


def checkpoints(tx: Tx) -> list[StoredCheckpoint]:
    """All of them, oldest first. A checkpoint a minute makes half a million a year, 400 bytes each."""
    rows = tx.execute(sa.select(checkpoint).order_by(checkpoint.c.id))
    return [StoredCheckpoint(r.origin, r.size, bytes(r.root), r.note, r.at) for r in rows]
