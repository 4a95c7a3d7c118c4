"""The seals' part of ``verify``: every sealed event is what was sealed, and every checkpoint signs this history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ledger.bulk import ahead
from ledger.checkpoint import Checkpoint, open_checkpoint, peek
from ledger.errors import InvalidInput
from ledger.merkle import (
    HASH,
    TILE,
    GrowingTree,
    NotProven,
    TileReader,
    fold,
    root_at,
)
from ledger.note import VerifierKey
from ledger.seal import Outside
from ledger.store import Tx, leaves, seals, stream
from ledger.store.leaves import Leaves
from ledger.store.seals import Batch
from ledger.verify import Check, Finding, Progress

BATCHES = 128
"""Batches read at a time; at most 32,768 events."""


def checks(keys: Sequence[VerifierKey] = (), outside: Outside | None = None) -> tuple[Check, ...]:
    """``keys``: whose signatures are known; those of others are not checked. ``outside``: where a checkpoint is kept.

    That is read now, so that the ledger as ``verify`` sees it afterwards has all that it covers.
    """
    kept = _kept(outside)
    return (
        Check("seals", "every sealed event is what was sealed, in the order it was sealed", events),
        Check(
            "checkpoints",
            "every checkpoint signs this history and no other",
            lambda tx, progress: checkpoints(tx, keys, kept),
        ),
    )


def events(tx: Tx, progress: Progress) -> Iterator[Finding]:
    if stream.foreign(tx):
        yield Finding(f"nothing more can be sealed here: {stream.FOREIGN}")
    tree, seen = GrowingTree(), _Seen()
    expected = _nodes(tx)
    since, end = 0, (0, 0)
    with ahead(_stored(tx)) as stored:
        for batches, found, xids in stored:
            if not tx.sqlite:
                yield from _order(batches, xids, since)
                since = batches[-1].cursor.xid
            for batch in batches:
                if batch.first != tree.size or len(batch.hashes) != len(batch.seqs) * HASH:
                    yield Finding(
                        f"the seal of entries {batch.first} to {batch.end - 1} is damaged or out of order: entry {tree.size} should follow"
                    )
                    return
                if (batch.cursor.xid, batch.cursor.seq) < end:
                    yield Finding(
                        f"the seals of the entries before {batch.first} end behind the one of {batch.first} to {batch.end - 1}: "
                        "the end of one was changed"
                    )
                end = batch.cursor.xid, batch.cursor.seq
                yield from _batch(tx, batch, found, seen)
                for node in tree.extend(batch.hashes):
                    if next(expected, None) != (node.level, node.index, node.hash):
                        yield Finding(
                            f"the stored hashes of entries {node.index * TILE**node.level} to {(node.index + 1) * TILE**node.level - 1} "
                            f"do not lead to the stored node {node.index} of level {node.level}: one of them was changed"
                        )
            progress(sum(len(batch.seqs) for batch in batches))
    size, cursor = seals.end(tx)
    for extra in expected:
        yield Finding(
            f"node {extra[1]} of level {extra[0]} is stored, but the tree of what is sealed has no such node"
        )
    if size:
        yield from _intruders(seen, stream.settled_until(tx, cursor))
        yield from _strays(seen, stream.behind(tx, cursor, seals.newest(tx)))


def _stored(tx: Tx) -> Iterator[tuple[list[Batch], dict[int, bytes], Leaves]]:
    """Batches as they were sealed, the hashes of their events as these are now, and perhaps of others."""
    at = 0
    while batches := seals.batches(tx, at, BATCHES):
        found = leaves.hashes_around(tx, [seq for batch in batches for seq in batch.seqs])
        yield batches, dict(zip(found.seqs, found.data, strict=True)), found
        at = batches[-1].end


def _order(batches: list[Batch], found: Leaves, since: int) -> Iterator[Finding]:
    """PostgreSQL: the transactions of a batch are none before the end of the batch before, and none behind its own.

    All at once are asked first, which costs nothing. Others that were found between them may lie anywhere.
    """
    if not found.xids or (since <= min(found.xids) and max(found.xids) <= batches[-1].cursor.xid):
        return
    xids = dict(zip(found.seqs, found.xids, strict=True))
    for batch in batches:
        until = batch.cursor.xid
        for seq in batch.seqs:
            if not since <= xids.get(seq, since) <= until:
                yield Finding(
                    f"event {seq} is of transaction {xids[seq]}, but was sealed among those from {since} to {until}: "
                    "one of these numbers was changed",
                    seq=seq,
                )
        since = until


def _nodes(tx: Tx) -> Iterator[tuple[int, int, bytes]]:
    """Stored nodes in the order in which a growing tree completes them; last, those of levels that no tree stores."""

    def place(node: tuple[int, int, bytes]) -> tuple[bool, int, int]:
        level, index, _ = node
        return (False, (index + 1) * TILE**level, level) if 0 < level < 8 else (True, index, level)

    return iter(sorted(seals.nodes(tx), key=place))


class _Seen:
    """Which positions are sealed: one bit each, so that ten million take little more than a megabyte.

    ``pools``: of which a changed event was seen.
    """

    def __init__(self) -> None:
        self._bits = bytearray()
        self.pools: set[str | None] = {None}

    def add(self, seq: int) -> bool:
        """False if it was there already."""
        byte, bit = divmod(seq, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 65_536 - len(self._bits)))
        if self._bits[byte] >> bit & 1:
            return False
        self._bits[byte] |= 1 << bit
        return True

    def __contains__(self, seq: int) -> bool:
        byte, bit = divmod(seq, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)


def _batch(tx: Tx, batch: Batch, found: dict[int, bytes], seen: _Seen) -> Iterator[Finding]:
    same = b"".join([found.get(seq, b"") for seq in batch.seqs]) == batch.hashes
    for at, seq in enumerate(batch.seqs):
        entry = batch.first + at
        digest = found.get(seq)
        if digest is None:
            yield Finding(
                f"event {seq} was sealed as entry {entry}, but it is not in the ledger any more", seq=seq
            )
            continue
        if not seen.add(seq):
            yield Finding(f"event {seq} is sealed twice, the second time as entry {entry}", seq=seq)
        if not same and digest != batch.hashes[at * HASH : (at + 1) * HASH]:
            changed = _changed(tx, seq, entry)
            if changed.pool not in seen.pools:
                seen.pools.add(changed.pool)
                yield from _renamed(tx, str(changed.pool))
            yield changed


def _renamed(tx: Tx, pool: str) -> Iterator[Finding]:
    """The name of a pool is sealed with each of its events, and stands nowhere but in the pool's row."""
    row, seqs = stream.first_of_pool(tx, pool, 16)
    now = leaves.hashes_by_seq(tx, seqs)
    sealed = {seq: place[1] for seq in seqs if (place := seals.find(tx, seq))}
    if len(sealed) > 1 and all(now[seq] != digest for seq, digest in sealed.items()):
        yield Finding(
            f"pool {pool!r} (row {row}): its name was changed, or else all of its first {len(sealed)} sealed events were",
            pool,
        )


def _changed(tx: Tx, seq: int, entry: int) -> Finding:
    """Either the event or its stored hash was changed; the tile's node, where there is one, tells which."""
    shown = json.loads(leaves.by_seq(tx, [seq])[seq])
    what = f"event {seq} ({shown['kind']} {shown['ip'] or shown['pool']}) is not what was sealed as entry {entry}: "
    tile = entry // TILE
    stored = seals.tiles(tx)
    node = stored(1, tile // TILE, tile % TILE + 1)[-HASH:]
    hashes = stored(0, tile, TILE)
    if len(hashes) == TILE * HASH and len(node) == HASH and fold(hashes) != node:
        what += "its seal was changed"
    else:
        what += "it was changed"
    return Finding(what, shown["pool"], shown["ip"], seq)


def _strays(seen: _Seen, behind: Iterator[int]) -> Iterator[Finding]:
    for seq in behind:
        if seq in seen:
            yield Finding(
                f"event {seq} is sealed, but stands behind the end of what was sealed: its transaction's number, or that end, "
                "was changed",
                seq=seq,
            )


def _intruders(seen: _Seen, settled: Iterator[int]) -> Iterator[Finding]:
    for seq in settled:
        if seq not in seen:
            yield Finding(
                f"event {seq} stands before the end of what was sealed, but was not there then: it was put in later",
                seq=seq,
            )


def _kept(outside: Outside | None) -> str | InvalidInput | None:
    try:
        return outside.read() if outside else None
    except InvalidInput as error:
        return error


def checkpoints(
    tx: Tx, keys: Sequence[VerifierKey], kept: str | InvalidInput | None = None
) -> Iterator[Finding]:
    """``kept``: the checkpoint outside, or why it cannot be read."""
    size, _ = seals.end(tx)
    read = seals.tiles(tx)
    notes: list[tuple[str, str, tuple[str, int, bytes] | None]] = [
        (f"checkpoint of {c.size:,} entries", c.note, (c.origin, c.size, c.root))
        for c in seals.checkpoints(tx)
    ]
    if isinstance(kept, InvalidInput):
        yield Finding(f"checkpoint kept outside: {kept}")
    elif kept is not None:
        notes.append(("checkpoint kept outside", kept, None))
    for name, note, columns in notes:
        try:
            claimed = peek(note)
            known = {key for key in keys if key.name == claimed.origin}
            head = open_checkpoint(note, *known) if known else claimed
        except (InvalidInput, NotProven) as error:
            yield Finding(f"{name}: {error}")
            continue
        if columns is not None and columns != (head.origin, head.size, head.root):
            yield Finding(f"{name}: its row says otherwise than its note")
        yield from _head(name, head, size, read)


def _head(name: str, head: Checkpoint, size: int, read: TileReader) -> Iterator[Finding]:
    if head.size > size:
        yield Finding(
            f"{name}: it was signed at {head.size:,} entries, but only {size:,} are sealed here: the ledger went back in time"
        )
    elif root_at(head.size, read) != head.root:
        yield Finding(
            f"{name}: the first {head.size:,} entries are not those that were signed: history was changed"
        )
