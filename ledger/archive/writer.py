"""Writing an export: one snapshot of the ledger in tree order, or the ledger as it is committed, in constant memory."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO

import zstandard

from ledger.archive.lines import SCHEMA
from ledger.archive.order import BATCHES, CHUNK, Part, in_tree_order, sealed
from ledger.archive.reader import FORMAT, Beginning, Damaged, Reader
from ledger.bulk import ahead, bulk
from ledger.catalog import refuse_half
from ledger.errors import InvalidInput, LedgerCorrupt
from ledger.events import Cursor, rfc3339
from ledger.merkle import HASH, TILE, GrowingTree, NotProven, leaf_hashes, root_at
from ledger.store import Database, Tx, leaves, seals, stream
from ledger.store.stream import SEQ

LEVEL = 3
_FIRST = 4_096
"""Bytes, more than the first frame of a followed export has: a header and a mark."""

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: how many events, and the Merkle root over them."""

    events: int
    root: bytes


def total(database: Database) -> int:
    with database.read() as tx:
        return stream.count(tx)


@bulk()
def export(database: Database, out: IO[bytes], progress: Progress = lambda events: None) -> Exported:
    """The whole ledger of one moment. Raises LedgerCorrupt naming an event that is not what was sealed, Unfinished."""
    with database.read() as tx:
        refuse_half(tx)
        signed = seals.newest_checkpoint(tx)
        head = {
            "format": FORMAT,
            "schema": SCHEMA,
            "events": stream.count(tx),
            "checkpoint": signed.note if signed else None,
            "exportedAt": rfc3339(tx.clock()),
        }
        with (
            zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_writer(
                out, closefd=False
            ) as sink,
            ahead(in_tree_order(tx)) as parts,
        ):
            pen = _Pen(sink.write)
            pen.json(head)
            for part in parts:
                pen.events(part.data, part.hashes)
                if part.note is not None:
                    pen.json({"checkpoint": part.note.note})
                progress(len(part.data))
            if pen.tree.size != head["events"]:
                raise LedgerCorrupt(
                    f"the ledger holds {head['events']} events, but {pen.tree.size} of them can be read in order; run `ipam-ledger verify`"
                )
            pen.json({"end": {"events": pen.tree.size, "root": b64encode(pen.tree.root()).decode()}})
        return Exported(pen.tree.size, pen.tree.root())


class Follow:
    """An export that is appended to as events are committed; what can be lost is what came since the last ``step``.

    Each step ends a frame and is on the disk before it returns. ``path`` may hold an export that was followed before: it is
    checked, cut behind its last mark, and gone on with. Raises InvalidInput, Damaged.
    """

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._cursor = Cursor()
        self._behind = True
        self._pen = _Pen(self._frame)
        self._frames: list[bytes] = []
        self._path = path
        self._last: tuple[int, bytes] | None = None  # the newest event of the file, and the hash of its leaf
        self._file = path.open("ab")
        try:
            self._begin()
            self._stand = _stand(os.fstat(self._file.fileno()))
        except BaseException:
            self._file.close()
            raise

    def _begin(self) -> None:
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise InvalidInput("-o", str(self._path), "is being followed into by another export") from None
        except OSError:  # a file system without locks
            pass
        if not self._resume():
            with self._database.read() as tx:
                now = rfc3339(tx.clock())
            head = {"format": FORMAT, "schema": SCHEMA, "events": None, "checkpoint": None, "exportedAt": now}
            self._pen.json(head)
            self._mark()

    @property
    def events(self) -> int:
        return self._pen.tree.size

    def step(self) -> int:
        """Append what was committed since; returns how many events. Raises TryAgain like the book, and may be repeated."""
        written = 0
        try:
            here = _stand(self._path.stat())
        except FileNotFoundError:
            here = None
        if here != self._stand:
            raise InvalidInput("-o", str(self._path), "was moved, removed or changed by another; follow anew")
        while True:
            with self._database.read() as tx:
                refuse_half(tx)
                if stream.foreign(tx):
                    raise LedgerCorrupt(f"nothing is followed here: {stream.FOREIGN}")
                self._same_ledger(tx)
                part, seqs, cursor = self._next(tx)
            if not part.data:
                return written
            self._pen.events(part.data, part.hashes)
            self._cursor = cursor
            self._last = seqs[-1], part.hashes[-HASH:]
            self._mark()
            self._stand = _stand(os.fstat(self._file.fileno()))
            written += len(part.data)

    def close(self) -> None:
        self._file.close()

    def _next(self, tx: Tx) -> tuple[Part, Sequence[int], Cursor]:
        if self._behind:
            # What is sealed comes in the order of its seals: that of a ledger that was imported is not that of its xids
            size = self._pen.tree.size
            batches = seals.batches(tx, size, BATCHES)
            if batches and batches[0].first <= size:
                data, hashes = sealed(tx, batches)
                known = size - batches[0].first  # the file may end amid a batch
                return Part(data[known:], hashes[known * HASH :]), batches[-1].seqs, batches[-1].cursor
            self._behind = False
        found = leaves.after(tx, self._cursor, CHUNK)
        cursor = found.cursor() if found.seqs else self._cursor
        return Part(found.data, leaf_hashes(found.data)), found.seqs, cursor

    def _resume(self) -> bool:
        path, size = self._path, _whole_frames(self._path)
        if not size:
            self._file.truncate(0)
            return False
        with path.open("rb") as source:
            reader = Reader(str(path), Beginning(source, size))
            if not reader.header.followed:
                raise InvalidInput("-o", str(path), "holds a finished export; follow into another file")
            for chunk in reader.chunks():
                self._pen.tree.extend(chunk.hashes)
                if chunk.rows:
                    self._last = chunk.rows[-1][SEQ], chunk.hashes[-HASH:]
        if reader.mark is None or reader.mark != self._pen.tree.size:
            raise Damaged(str(path), "before its first mark", "begin a new file")
        with self._database.read() as tx:
            self._cursor = self._same_ledger(tx)
            sealed_events, cursor = seals.end(tx)
            if sealed_events >= self._pen.tree.size and not self._is_beginning(tx):
                raise self._other("its events, or their order, are not those that were sealed here")
            if sealed_events == self._pen.tree.size:  # of an imported ledger that may be behind its last leaf
                self._cursor = cursor
        self._file.truncate(size)
        return True

    def _same_ledger(self, tx: Tx) -> Cursor:
        """The newest event of the file must be the one here, or the file follows another history. The cursor behind it.

        It is asked of the ledger: the mark says it, too, but no root vouches for that.
        """
        if self._last is None:
            return Cursor()
        seq, digest = self._last
        here = leaves.hashes_around(tx, [seq])
        if here.data != [digest]:
            raise self._other(f"its newest event, {seq}, is not the one here")
        return here.cursor()

    def _is_beginning(self, tx: Tx) -> bool:
        """Whether what is sealed begins with what the file holds."""
        try:
            return root_at(self.events, seals.tiles(tx)) == self._pen.tree.root()
        except (NotProven, IndexError):
            return False

    def _other(self, why: str) -> InvalidInput:
        what = f"follows another ledger, or this one went back in time: {why}; keep this file, and follow into another"
        return InvalidInput("-o", str(self._path), what)

    def _frame(self, data: bytes) -> None:
        self._frames.append(data)

    def _mark(self) -> None:
        tree, cursor = self._pen.tree, self._cursor
        self._pen.json(
            {
                "mark": {
                    "events": tree.size,
                    "root": b64encode(tree.root()).decode(),
                    "xid": cursor.xid,
                    "seq": cursor.seq,
                }
            }
        )
        data = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(b"".join(self._frames))
        self._frames.clear()
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())


def _stand(found: os.stat_result) -> tuple[int, int, int]:
    """Which file it is, and how long: what is written into one that has no name any more is lost with the process."""
    return found.st_dev, found.st_ino, found.st_size


def _whole_frames(path: Path) -> int:
    """How many bytes of the file are whole frames: not the one that its writer was killed in.

    What is damaged, or nothing of ours, is not taken for that: it may be all that is left of what it holds. Raises InvalidInput,
    Damaged.
    """
    end = 0
    with path.open("rb") as source:
        while True:
            source.seek(end)
            frame = zstandard.ZstdDecompressor().decompressobj()
            read = 0
            try:
                while not frame.eof and (data := source.read(1 << 14)):
                    read += len(data)
                    frame.decompress(data)
            except zstandard.ZstdError as error:
                if end:
                    raise Damaged(
                        str(path), f"behind byte {end}", f"{error}; follow into another file"
                    ) from None
                raise _no_export(path) from None
            if not frame.eof:
                break
            end += read - len(frame.unused_data)
        source.seek(end)
        begun = source.read(len(zstandard.FRAME_HEADER))
        if not end and (read > _FIRST or not zstandard.FRAME_HEADER.startswith(begun)):
            raise _no_export(path)
        return end


def _no_export(path: Path) -> InvalidInput:
    return InvalidInput("-o", str(path), "is there already, and is no export: follow into another file")


class _Pen:
    """Writes lines, and keeps the tree over the events among them."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.tree = GrowingTree()
        self._write = write

    def json(self, value: object) -> None:
        self._write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def events(self, data: Sequence[bytes], hashes: bytes) -> None:
        """Leaves with their joined hashes, and a line behind each tile that they fill."""
        at = 0
        while at < len(data):
            end = min(at + TILE - self.tree.size % TILE, len(data))
            self._write(b"\n".join(data[at:end]) + b"\n")
            for node in self.tree.extend(hashes[at * HASH : end * HASH]):
                if node.level == 1:
                    self.json({"tile": node.index, "root": b64encode(node.hash).decode()})
            at = end
