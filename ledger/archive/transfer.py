"""The two ways into an empty database: from a file, which is checked first, and straight from another ledger."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ledger.archive.beside import Checking
from ledger.archive.check import Check
from ledger.archive.lines import parse
from ledger.archive.loader import Loaded, Loader
from ledger.archive.order import in_tree_order
from ledger.archive.reader import Beginning, Checked, Damaged, Reader
from ledger.bulk import ahead, bulk
from ledger.catalog import refuse_half
from ledger.checkpoint import peek
from ledger.errors import LedgerCorrupt, LedgerError
from ledger.events import rfc3339
from ledger.merkle import HASH
from ledger.store import Database, stream
from ledger.store.stream import AT

Progress = Callable[[int], object]


@bulk()
def import_file(
    database: Database,
    path: Path,
    *,
    actor: str,
    accept: Callable[[Checked], object] = lambda checked: None,
    progress: Progress = lambda events: None,
) -> tuple[Loaded, Checked]:
    """Load a file. It is checked meanwhile, and until all of it is, and ``accept`` has returned, nothing is committed.

    From then on every chunk is, so that an import which is interrupted may go on there.
    """
    reason = f"imported from {path.name}; what was given out since it was written is unknown"
    checked = None
    with (
        path.open("rb") as file,
        Checking(path, size := os.fstat(file.fileno()).st_size) as check,  # a followed export may be growing
        Loader(database, reason=reason, actor=actor) as loader,
    ):
        reader = Reader(str(path), Beginning(file, size))
        try:
            with ahead(reader.chunks(), alone=database.sqlite) as chunks:
                for chunk in chunks:
                    loader.add(chunk.rows, chunk.hashes, chunk.checkpoints)
                    if checked is None and (checked := check.checked()):
                        accept(checked)
                    if checked is not None:
                        loader.commit()
                    progress(len(chunk.rows))
        except LedgerError:
            raise
        except Exception:  # of the database, which does not take what the file holds
            if checked is None:
                check.wait()  # which knows better what is wrong with the file
            raise
        if checked is None:
            accept(checked := check.wait())
        if reader.vouched != (checked.events, checked.root):
            raise Damaged(str(path), "while it was loaded", "it is not the file that was checked")
        return loader.finish(), checked


@bulk()
def replay_into(
    source: Database,
    target: Database,
    *,
    until: datetime | None = None,
    actor: str,
    progress: Progress = lambda events: None,
) -> Loaded:
    """Rebuild another database's ledger and state from this ledger, up to and including ``until``.

    Signed checkpoints come along where everything that they cover does. LedgerCorrupt names an event that may not follow.
    Raises Unfinished where the source itself is half an import.
    """
    with source.read() as tx:
        refuse_half(tx)
    bound = rfc3339(until) if until else None
    reason = f"replayed from another ledger{f' up to {bound}' if bound else ''}; it is a copy until somebody says otherwise"
    check, complete = Check(), True
    with (
        source.read() as tx,
        Loader(target, reason=reason, actor=actor) as loader,
        ahead(in_tree_order(tx), alone=target.sqlite) as parts,
    ):
        for part in parts:
            rows, hashes, note = parse(part.data), part.hashes, part.note
            if bound is not None and any(row[AT] > bound for row in rows):
                kept = [index for index, row in enumerate(rows) if row[AT] <= bound]
                rows = [rows[index] for index in kept]
                hashes = b"".join(hashes[index * HASH : (index + 1) * HASH] for index in kept)
                complete = False
            if wrong := check.wrong(rows):
                seq, why = wrong
                raise LedgerCorrupt(f"event {seq}: {why}", seq=seq)
            loader.add(rows, hashes, [(peek(note.note), note.note)] if note and complete else [])
            loader.commit()
            progress(len(rows))
        if until is None and loader.size != (there := stream.count(tx)):
            raise LedgerCorrupt(
                f"the ledger holds {there} events, but {loader.size} of them can be read in order; run `ipam-ledger verify`"
            )
        return loader.finish()
