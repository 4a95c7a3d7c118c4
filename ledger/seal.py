"""The sealer: folds events in commit order into one Merkle tree and signs checkpoints. Never on the ADD path.

A cycle reads what was committed since the last seal, stores batches of leaf hashes, and signs the tree head if it
grew. It never signs a tree that does not extend the last signed one, neither the newest checkpoint in the
database nor the one kept outside: that is what would betray a database that was changed or went back in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ledger.bulk import bulk, together
from ledger.checkpoint import Checkpoint, claimed, open_checkpoint
from ledger.errors import InvalidInput, LedgerCorrupt
from ledger.events import Cursor
from ledger.fence import raise_fence
from ledger.files import replace_file
from ledger.merkle import GrowingTree, NotProven, consistency_path, root_at
from ledger.merkle import verify_consistency as check_growth
from ledger.note import SignerKey
from ledger.store import Database, Tx, leaves, seals, stream
from ledger.store.database import Conflict
from ledger.store.leaves import Leaves
from ledger.words import counted

CHUNK = 32_768
"""Events read and stored at a time: a few megabytes, and a short write transaction."""

READERS = 2
"""Threads that read: the databases take three times as long for a leaf as its way into the tree does."""


class WentBack(LedgerCorrupt):
    """The ledger does not hold what was signed before: it was changed, or restored to an earlier day."""


class Outside(Protocol):
    """Where the newest checkpoint is kept outside the database: a file, or a ConfigMap."""

    def read(self) -> str | None:
        """The note, or None where there is none yet."""

    def write(self, note: str) -> None: ...


@dataclass(frozen=True, slots=True)
class OutsideFile:
    """The checkpoint in a file, best on another machine's disk."""

    path: Path

    def read(self) -> str | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise InvalidInput("checkpoint", str(self.path), "is no text, and so no checkpoint") from None
        if (
            not text.strip()
        ):  # whatever emptied it may have taken the one witness that the ledger went back in time
            raise InvalidInput(
                "checkpoint",
                str(self.path),
                "is empty; bring back what it held, or remove it if that was nothing",
            )
        return text

    def write(self, note: str) -> None:
        replace_file(self.path, note)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a cycle did: ``events`` newly sealed, the tree's ``size`` and root, and the note if one was signed."""

    events: int
    size: int
    root: bytes
    note: str | None

    def sentence(self) -> str:
        signed = "signed" if self.note else "no new checkpoint"
        return (
            f"sealed {counted(self.events, 'event')}; the tree has {counted(self.size, 'entry')} ({signed})"
        )


class Sealer:
    """Seals one ledger. ``key`` None: events are folded but nothing is signed.

    ``actor``: who raises the fence, should the ledger have gone back in time.
    """

    def __init__(
        self,
        database: Database,
        *,
        key: SignerKey | None,
        outside: Outside | None = None,
        actor: str = "sealer",
    ) -> None:
        self._database = database
        self._actor = actor
        self._key = key
        self._outside = outside

    @bulk()
    def seal(self, progress: Callable[[int], object] = lambda events: None) -> Sealed:
        """One cycle: everything that is settled now. ``progress`` gets the count of each chunk.

        Raises LedgerCorrupt if the tree does not extend what was signed: then nothing is signed, and the fence is raised,
        for who knows what was given out in the history that is missing.
        """
        try:
            return self._cycle(progress)
        except WentBack as error:
            raise_fence(self._database, reason=str(error), actor=self._actor)
            raise

    def _cycle(self, progress: Callable[[int], object]) -> Sealed:
        kept = self._kept()
        with self._database.read() as tx:
            if stream.foreign(tx):
                raise LedgerCorrupt(f"nothing is sealed here: {stream.FOREIGN}")
            size, cursor = self._end(tx, kept)
            tree = GrowingTree.resume(size, seals.tiles(tx))
        before = size
        with together(self._settled(cursor), threads=READERS) as settled:
            for found in settled:
                if not found.seqs:
                    break
                hashes = b"".join(found.data)
                batches = seals.in_tiles(size, found.seqs, hashes, found.cursor)
                try:
                    with self._database.begin() as tx:
                        again = min(seals.sealed_among(tx, found.seqs), default=None)
                        if seals.end(tx)[0] != size:  # asked last, for another may seal in between
                            raise Conflict("another sealer was faster")
                        if again:
                            raise LedgerCorrupt(
                                f"event {again} is sealed already, but stands behind what was sealed; run `ipam-ledger verify`",
                                seq=again,
                            )
                        seals.add(tx, batches, tree.extend(hashes))
                except Conflict:
                    return Sealed(size - before, *self._head(), None)
                size = tree.size
                progress(len(found.seqs))
        return Sealed(tree.size - before, tree.size, tree.root(), self._sign(tree))

    def _settled(self, cursor: Cursor | None) -> Iterator[Callable[[], Leaves]]:
        """Reads of the next chunks. What is settled only grows at its end, so each may look for itself."""
        while cursor is not None:
            yield partial(self._hashes, cursor)
            with self._database.read() as tx:
                cursor = stream.skip(tx, cursor, CHUNK)

    def _hashes(self, cursor: Cursor) -> Leaves:
        with self._database.read() as tx:
            return leaves.hashes_after(tx, cursor, CHUNK)

    def _head(self) -> tuple[int, bytes]:
        with self._database.read() as tx:
            size, _ = seals.end(tx)
            return size, root_at(size, seals.tiles(tx))

    def _kept(self) -> str | None:
        """What is kept outside. Never asked within a transaction: that may be a request to a server that is slow to answer."""
        return self._outside.read() if self._outside and self._key else None

    def _end(self, tx: Tx, kept: str | None) -> tuple[int, Cursor]:
        """Where the tree ends. Raises WentBack unless it extends what was signed last, here and outside (``kept``)."""
        # What was signed first: what another sealer signs behind this look is no step back
        signed = self._signed(tx, kept)
        size, cursor = seals.end(tx)
        read = seals.tiles(tx)
        for checkpoint in signed:
            facts = {"signed": checkpoint.size, "size": size, "origin": checkpoint.origin}
            if checkpoint.size > size:
                raise WentBack(
                    f"the ledger went back in time: a checkpoint of {checkpoint.size:,} entries was signed, but only "
                    f"{size:,} are sealed here",
                    **facts,
                )
            try:
                path = consistency_path(checkpoint.size, size, read)
                check_growth(checkpoint.size, size, path, checkpoint.root, root_at(size, read))
            except (NotProven, IndexError) as error:
                raise WentBack(
                    f"the sealed history is not the one that was signed at {checkpoint.size:,} entries: {error}",
                    **facts,
                ) from error
        return size, cursor

    def _signed(self, tx: Tx, kept: str | None) -> list[Checkpoint]:
        """The newest checkpoints: of our key in the database and outside, and (unverified) of a key before ours."""
        key = self._key
        stored = seals.newest_checkpoint(tx, key.name) if key else None
        newest = seals.newest_checkpoint(tx)
        heads = [(row.origin, claimed(row.note, row.size)) for row in (stored, newest) if row]
        if key is None:
            return [head for _, head in heads]
        out = [head for origin, head in heads if origin != key.name]
        for where, note, then in (
            ("in the database", stored and stored.note, "a new key needs a new name"),
            (
                "outside",
                kept,
                "if this key is meant to follow that one, move that checkpoint away and keep it",
            ),
        ):
            if note:
                try:
                    out.append(open_checkpoint(note, key.verifier))
                except (NotProven, InvalidInput) as error:
                    raise LedgerCorrupt(
                        f"the checkpoint kept {where} is not of this key: {error}; {then}"
                    ) from error
        return out

    def _sign(self, tree: GrowingTree) -> str | None:
        if self._key is None:
            return None
        name, note = self._key.name, None
        kept = self._kept()
        try:
            with self._database.begin() as tx:
                size, _ = self._end(tx, kept)
                if size != tree.size:
                    return None  # another sealer went on; it signs
                stored = seals.newest_checkpoint(tx, name)
                if stored is None or stored.size < size:
                    root = tree.root()
                    note = Checkpoint(name, size, root).sign(self._key)
                    seals.add_checkpoint(tx, name, size, root, note)
        except Conflict:
            return None  # another sealer signed this very tree
        self._keep_outside()
        return note

    def _keep_outside(self) -> None:
        """Outside what the database has: also what a cycle that was killed in between did not get to write."""
        assert self._key is not None
        if self._outside is None:
            return
        # In this order: the database is then at least as far as what was read, so an ``Outside`` that replaces only what
        # was read never goes back, however many sealers there are.
        kept = self._kept()
        with self._database.read() as tx:
            stored = seals.newest_checkpoint(tx, self._key.name)
        if stored is not None and kept != stored.note:
            self._outside.write(stored.note)
