"""Making proofs from the stored seals: reads one event and about three tiles, however long the ledger is."""

from __future__ import annotations

from typing import Any

from ledger.canonical import leaf
from ledger.checkpoint import peek
from ledger.errors import InvalidRequest, LedgerCorrupt, LedgerError
from ledger.merkle import NotProven, consistency_path, inclusion_path, leaf_hash, root_at
from ledger.merkle import verify_consistency as check_growth
from ledger.merkle import verify_inclusion as check_inclusion
from ledger.proof import consistency_document, inclusion_document
from ledger.store import Database, seals, stream


class NotSealed(LedgerError):
    """The event is not under a signed checkpoint yet."""


def prove(database: Database, seq: int) -> dict[str, Any]:
    """A proof that the event at ``seq`` is in the ledger, under the newest checkpoint.

    Raises InvalidRequest (no such event), NotSealed, LedgerCorrupt (what is stored does not prove it).
    """
    with database.read() as tx:
        row = stream.by_seq(tx, [seq]).get(seq)
        if row is None:
            raise InvalidRequest("SEQ", seq, "there is no such event")
        place = seals.find(tx, seq)
        signed = seals.newest_checkpoint(tx)
        head = peek(signed.note) if signed else None
        if place is None or signed is None or head is None or head.size <= place[0]:
            raise NotSealed(
                f"event {seq} is not under a signed checkpoint yet; run `ipam-ledger seal`", seq=seq
            )
        index, sealed = place
        event = stream.event_of(row)
        found = leaf_hash(leaf(event))
        if found != sealed:
            raise LedgerCorrupt(f"event {seq} is not what was sealed: it or its seal was changed", seq=seq)
        try:
            path = inclusion_path(index, head.size, seals.tiles(tx))
            check_inclusion(found, index, head.size, path, head.root)
        except (NotProven, IndexError) as error:
            raise LedgerCorrupt(
                f"the seals do not lead from event {seq} to the checkpoint: {error}", seq=seq
            ) from error
        return inclusion_document(event, index, path, signed.note)


def prove_growth(database: Database, old_note: str) -> dict[str, Any]:
    """A proof that the newest checkpoint extends an older one. Raises InvalidInput, NotSealed, LedgerCorrupt."""
    old = peek(old_note)
    with database.read() as tx:
        signed = seals.newest_checkpoint(tx, old.origin)
        if signed is None:
            raise NotSealed(f"this ledger has no checkpoint of {old.origin}", origin=old.origin)
        new = peek(signed.note)
        if new.size < old.size:
            raise LedgerCorrupt(
                f"the ledger went back in time: that checkpoint is of {old.size:,} entries, the newest here of {new.size:,}"
            )
        read = seals.tiles(tx)
        try:
            if root_at(old.size, read) != old.root:
                raise NotProven(f"the first {old.size:,} entries are not those of that checkpoint")
            path = consistency_path(old.size, new.size, read)
            check_growth(old.size, new.size, path, old.root, new.root)
        except (NotProven, IndexError) as error:
            raise LedgerCorrupt(f"the ledger does not extend that checkpoint: {error}") from error
        return consistency_document(old_note, signed.note, path)
