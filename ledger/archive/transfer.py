"""The two ways into an empty database: from a file that was checked, and straight from another ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ledger.archive.lines import parse
from ledger.archive.loader import Loaded, Loader
from ledger.archive.order import in_tree_order
from ledger.archive.reader import Checked, Damaged, Reader
from ledger.bulk import ahead, bulk
from ledger.checkpoint import peek
from ledger.events import rfc3339
from ledger.merkle import HASH
from ledger.store import Database
from ledger.store.stream import AT

Progress = Callable[[int], object]


@bulk()
def import_file(
    database: Database,
    path: Path,
    *,
    actor: str,
    checked: Checked | None = None,
    progress: Progress = lambda events: None,
) -> tuple[Loaded, str | None]:
    """Load a file. Every hash is checked as it is read.

    ``checked``: what :func:`ledger.archive.reader.check_file` found in it; then which event may follow which is not asked
    again, and the file must still be the same in the end. Returns what was loaded, and a sentence about the end of a
    followed export that was cut amid a batch.
    """
    reason = f"imported from {path.name}; what was given out since it was written is unknown"
    loader = Loader(database, reason=reason, actor=actor, progress=progress, check=checked is None)
    with path.open("rb") as source:
        reader = Reader(str(path), source)
        with ahead(reader.chunks(), alone=database.sqlite) as chunks:
            for chunk in chunks:
                loader.add(chunk.rows, chunk.hashes, chunk.checkpoints)
        note = "the file ends amid a batch; what came behind is not known" if reader.unmarked else None
    if checked is not None and reader.vouched != (checked.events, checked.root):
        raise Damaged(str(path), "while it was loaded", "it is not the file that was checked")
    return loader.finish(), note


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

    Signed checkpoints come along where everything that they cover does.
    """
    bound = rfc3339(until) if until else None
    reason = f"replayed from another ledger{f' up to {bound}' if bound else ''}; it is a copy until somebody says otherwise"
    loader = Loader(target, reason=reason, actor=actor, progress=progress)
    complete = True
    with source.read() as tx, ahead(in_tree_order(tx), alone=target.sqlite) as parts:
        for part in parts:
            rows, hashes, note = parse(part.data), part.hashes, part.note
            if bound is not None and any(row[AT] > bound for row in rows):
                kept = [index for index, row in enumerate(rows) if row[AT] <= bound]
                rows = [rows[index] for index in kept]
                hashes = b"".join(hashes[index * HASH : (index + 1) * HASH] for index in kept)
                complete = False
            loader.add(rows, hashes, [(peek(note.note), note.note)] if note and complete else [])
    return loader.finish()
