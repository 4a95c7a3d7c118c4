"""The ledger in tree order: what is sealed in the order of its seals, then the rest in the order in which it will be sealed."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from ledger.errors import LedgerCorrupt
from ledger.merkle import HASH
from ledger.store import Tx, seals, stream
from ledger.store.seals import Batch, StoredCheckpoint
from ledger.store.stream import Leaf

CHUNK = 16_384
BATCHES = 64


def in_tree_order(tx: Tx) -> Iterator[tuple[list[Leaf], StoredCheckpoint | None]]:
    """Leaves, and the checkpoint that ends exactly behind them, if one does.

    Raises LedgerCorrupt naming an event that is not what was sealed.
    """
    notes = iter(sorted(seals.checkpoints(tx), key=lambda c: c.size))
    note = next(notes, None)
    at = 0
    while note is not None and note.size == 0:
        yield [], note
        note = next(notes, None)
    while batches := seals.batches(tx, at, BATCHES):
        found = stream.leaves_by_seq(tx, [seq for batch in batches for seq in batch.seqs])
        leaves = [leaf for batch in batches for leaf in sealed(batch, found)]
        first, at = batches[0].first, batches[-1].end
        while note is not None and note.size <= at:
            cut = note.size - first
            yield leaves[:cut], note
            leaves, first, note = leaves[cut:], first + cut, next(notes, None)
        if leaves:
            yield leaves, None
    _, cursor = seals.end(tx)
    while leaves := stream.leaves_after(tx, cursor, CHUNK, settled=False):
        yield leaves, None
        cursor = leaves[-1].cursor


def sealed(batch: Batch, found: dict[int, Leaf]) -> list[Leaf]:
    """The leaves of a batch, each exactly what was sealed. Raises LedgerCorrupt."""
    out = []
    for n, seq in enumerate(batch.seqs):
        leaf = found.get(seq)
        if leaf is None or sha256(b"\0" + leaf.data).digest() != batch.hashes[n * HASH : (n + 1) * HASH]:
            what = "is not in the ledger any more" if leaf is None else "is not what was sealed"
            raise LedgerCorrupt(
                f"event {seq} {what} as entry {batch.first + n}; run `ipam-ledger verify`", seq=seq
            )
        out.append(leaf)
    return out
