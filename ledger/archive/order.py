"""The ledger in tree order: what is sealed in the order of its seals, then the rest in the order in which it will be sealed.

Where nothing can be sealed any more (a restored pg_dump), the rest comes in the order of its positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ledger.checkpoint import claimed
from ledger.errors import LedgerCorrupt
from ledger.merkle import HASH, leaf_hash, leaf_hashes
from ledger.store import Tx, leaves, seals, stream
from ledger.store.seals import Batch, StoredCheckpoint

CHUNK = 16_384
BATCHES = 64


class Part(NamedTuple):
    """Leaves, their hashes joined, and the checkpoint that ends exactly behind them, if one does."""

    data: list[bytes]
    hashes: bytes
    note: StoredCheckpoint | None = None


def in_tree_order(tx: Tx) -> Iterator[Part]:
    """The whole ledger. Raises LedgerCorrupt naming an event that is not what was sealed, or a checkpoint out of its place."""
    notes = iter(sorted(seals.checkpoints(tx), key=_size))
    note = next(notes, None)
    at = 0
    while note is not None and note.size == 0:
        yield Part([], b"", note)
        note = next(notes, None)
    while batches := seals.batches(tx, at, BATCHES):
        data, hashes = sealed(tx, batches)
        first, at = batches[0].first, batches[-1].end
        while note is not None and note.size <= at:
            cut = note.size - first
            yield Part(data[:cut], hashes[: cut * HASH], note)
            data, hashes, first, note = data[cut:], hashes[cut * HASH :], first + cut, next(notes, None)
        if data:
            yield Part(data, hashes)
    for rest in _foreign(tx) if stream.foreign(tx) else _unsealed(tx):
        yield Part(rest, leaf_hashes(rest))


def _unsealed(tx: Tx) -> Iterator[list[bytes]]:
    _, cursor = seals.end(tx)
    while (rest := leaves.after(tx, cursor, CHUNK, settled=False)).seqs:
        yield rest.data
        cursor = rest.cursor()


def _foreign(tx: Tx) -> Iterator[list[bytes]]:
    """The same where the numbers of transactions say nothing: what was written here has lower ones than what was restored."""
    seq = 0
    while (rest := leaves.after_seq(tx, seq, CHUNK)).seqs:
        sealed = seals.sealed_among(tx, rest.seqs)
        if data := [leaf for seq, leaf in zip(rest.seqs, rest.data, strict=True) if seq not in sealed]:
            yield data
        seq = rest.seqs[-1]


def _size(checkpoint: StoredCheckpoint) -> int:
    """As it was signed: where the row says otherwise, no export with it could be imported."""
    return claimed(checkpoint.note, checkpoint.size).size


def sealed(tx: Tx, batches: list[Batch]) -> tuple[list[bytes], bytes]:
    """The leaves of these batches, each exactly what was sealed, and their hashes joined. Raises LedgerCorrupt."""
    found = leaves.by_seq(tx, [seq for batch in batches for seq in batch.seqs])
    data = [found.get(seq, b"") for batch in batches for seq in batch.seqs]
    hashes = leaf_hashes(data)
    if hashes != b"".join([batch.hashes for batch in batches]):
        for batch in batches:
            _compare(batch, found)
    return data, hashes


def _compare(batch: Batch, found: dict[int, bytes]) -> None:
    for n, seq in enumerate(batch.seqs):
        leaf = found.get(seq)
        if leaf is None or leaf_hash(leaf) != batch.hashes[n * HASH : (n + 1) * HASH]:
            what = "is not in the ledger any more" if leaf is None else "is not what was sealed"
            raise LedgerCorrupt(
                f"event {seq} {what} as entry {batch.first + n}; run `ipam-ledger verify`", seq=seq
            )
