"""Reading an export: everything is checked before it is handed out, in constant memory.

What is handed out comes in chunks that a tile, a mark or the trailer has vouched for.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

import zstandard

from ledger.archive.check import Check
from ledger.archive.lines import SCHEMA, NotAnEvent, parse
from ledger.bulk import bulk
from ledger.canonical import MAX_SAFE
from ledger.checkpoint import Checkpoint, peek
from ledger.errors import InvalidInput, LedgerError
from ledger.merkle import HASH, TILE, GrowingTree, leaf_hashes
from ledger.store.stream import SEQ, Row

FORMAT = "ipam-ledger/export/v1"
MAX_LINE = 4_000_000
"""Bytes; a pool's event carries its spec, which is bounded at about one."""

TAKE = 8_192
"""Events handed out at a time, or a few more: up to the end of a tile."""

_BLOCK = 1 << 18
_BITE = 1 << 10


class Damaged(LedgerError):
    """The export was cut or changed."""

    def __init__(self, source: str, where: str, why: str) -> None:
        super().__init__(f"{source} was cut or changed {where}: {why}", source=source, where=where, why=why)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. ``events`` None: the export is followed, so nobody knows yet. ``checkpoint``: the newest note, or None."""

    schema: int
    events: int | None
    checkpoint: str | None

    @property
    def followed(self) -> bool:
        return self.events is None


@dataclass(slots=True)
class Chunk:
    """Events that were vouched for, then the checkpoints that stand after them. ``hashes``: of their leaves, joined."""

    rows: list[Row] = field(default_factory=list)
    hashes: bytes = b""
    checkpoints: list[tuple[Checkpoint, str]] = field(default_factory=list)


class Source(Protocol):
    """Where compressed bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class Beginning:
    """The first ``left`` bytes of a file."""

    def __init__(self, source: Source, left: int) -> None:
        self._source = source
        self._left = left

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, self._left))
        self._left -= len(data)
        return data


class Reader:
    """One export. ``header`` is read at once. Raises Damaged, or InvalidInput for a file that is no export."""

    def __init__(self, source: str, stream: Source) -> None:
        self.source = source
        self.tree = GrowingTree()
        self.mark: int | None = None
        """How many events stand before the last mark of a followed export: the end of a batch."""
        self.vouched = 0, self.tree.root()
        """How many events were handed out, and the root over them."""
        self._lines = _Lines(source, stream)
        self.header = self._header()
        self._signed = self.header.checkpoint is None  # or the header's checkpoint came
        self._chunk = Chunk()
        self._hashes: list[bytes] = []  # of the chunk's leaves, still to be joined

    def chunks(self) -> Iterator[Chunk]:
        """Everything up to the trailer; of a followed export, everything up to the last mark."""
        events: list[bytes] = []  # lines that stand together, and are read when another line ends them
        tail = b""  # leaf hashes of the tile that is being read
        room = TILE  # for events in it
        try:
            for line in self._lines:
                if room == 0 and not line.startswith(b'{"tile":'):
                    self._damaged("a tile line is missing before this one")
                if line.startswith(b'{"actor":'):
                    events.append(line)
                    room -= 1
                    continue
                tail += self._events(events)
                match self._json(line):
                    case {"tile": int(index), "root": str(root)}:
                        self._tile(index, root, tail)
                        tail, room = b"", TILE
                        if len(self._chunk.rows) >= TAKE:
                            yield self._take()
                    case {"checkpoint": str(note)}:
                        self._checkpoint(note, tail)
                    case {"mark": {"events": int(events_before), "root": str(root)}}:
                        self._vouch(events_before, root, tail)
                        tail = b""
                        self.mark = events_before
                        yield self._take()
                    case {"end": {"events": int(events_before), "root": str(root)}}:
                        self._vouch(events_before, root, tail)
                        promised = self.header.events
                        if promised is not None and events_before != promised:
                            self._damaged(f"the header promised {promised} events")
                        if not self._signed:
                            self._damaged("the header's checkpoint is missing before this one")
                        yield self._take()
                        self._nothing_more()
                        return
                    case _:
                        self._damaged("this is no line of an export")
        except Damaged:
            if not self.header.followed or self.mark is None or not self._lines.cut:
                raise
            return  # the writer was killed amid a batch; what was not marked is not handed out
        if not self.header.followed:
            self._damaged("there is no trailer", at_end=True)
        if events or self._chunk.rows:
            self._lines.cut = True

    @property
    def unmarked(self) -> bool:
        """Whether a followed export goes on behind its last mark, where nothing vouches for it."""
        return self._lines.cut

    # Lines ------------------------------------------------------------------------------------------

    def _header(self) -> Header:
        first = next(iter(self._lines), None)
        try:
            raw = json.loads(first or b"")
            if raw["format"] != FORMAT:
                raise ValueError(f"its format is {raw['format']!r:.60}, this program reads {FORMAT!r}")
            header = Header(raw["schema"], raw["events"], raw["checkpoint"])
            counts = [header.schema] if header.events is None else [header.schema, header.events]
            if any(type(n) is not int or not 0 <= n <= MAX_SAFE for n in counts) or header.schema < 1:
                raise ValueError("a number of its header is none")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidInput("export", self.source, f"is not an export of a ledger: {error}") from None
        if header.schema > SCHEMA:
            raise InvalidInput(
                "export", self.source, f"its events have schema {header.schema}, newer than this program's {SCHEMA}; upgrade ipam-ledger"
            )  # fmt: skip
        return header

    def _events(self, lines: list[bytes]) -> bytes:
        """Take these lines, and clear them; the joined hashes of their leaves."""
        hashes = leaf_hashes(lines)
        try:
            self._chunk.rows += parse(lines)
        except NotAnEvent as error:
            self._lines.number -= len(lines) - error.index
            self._damaged(f"not an event: {error}")
        self._hashes.append(hashes)
        lines.clear()
        return hashes

    def _tile(self, index: int, root: str, tail: bytes) -> None:
        if self.tree.size % TILE + len(tail) // HASH != TILE or index != self.tree.size // TILE:
            self._damaged(f"tile {index} does not belong here: an event is missing, or there is one too many")
        nodes = self.tree.extend(tail)
        if not nodes or nodes[0].hash != self._hash(root):
            self._changed()

    def _vouch(self, events: int, root: str, tail: bytes) -> None:
        self.tree.extend(tail)
        if events != self.tree.size:
            self._damaged(f"{events} events should stand before this line, there are {self.tree.size}")
        if self.tree.root() != self._hash(root):
            self._changed()

    def _changed(self) -> None:
        """The tile that was just read is not the one that was written."""
        last = self.tree.size
        first = (last - 1) // TILE * TILE
        seqs = [row[SEQ] for row in self._chunk.rows[-(last - first) :]]
        self._damaged(
            f"the events before this line are not those that were written; the change is in one of {len(seqs)}, from event "
            f"{seqs[0] if seqs else '?'} to event {seqs[-1] if seqs else '?'}"
        )

    def _checkpoint(self, note: str, tail: bytes) -> None:
        try:
            checkpoint = peek(note)
        except LedgerError as error:
            self._damaged(f"not a checkpoint: {error}")
        size = self.tree.size + len(tail) // HASH
        if checkpoint.size != size:
            self._damaged(f"a checkpoint of {checkpoint.size} entries stands after {size}")
        if self.tree.root_after(tail) != checkpoint.root:
            self._damaged("the events before it are not those that this checkpoint signs")
        self._signed |= note == self.header.checkpoint
        self._chunk.checkpoints.append((checkpoint, note))

    def _take(self) -> Chunk:
        self.vouched = self.tree.size, self.tree.root()
        chunk, self._chunk = self._chunk, Chunk()
        chunk.hashes = b"".join(self._hashes)
        self._hashes.clear()
        return chunk

    def _nothing_more(self) -> None:
        if next(iter(self._lines), None) is not None:
            self._damaged("something follows the trailer")

    def _json(self, line: bytes) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            self._damaged(f"not JSON: {error}")

    def _hash(self, text: str) -> bytes:
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._damaged("a root that is no base64")

    def _damaged(self, why: str, *, at_end: bool = False) -> NoReturn:
        where = "at its end" if at_end else f"at line {self._lines.number}"
        raise Damaged(self.source, where, why)


class _Lines:
    """The lines of a compressed stream, numbered from 1. ``cut``: the stream ended inside a line or a frame, or behind a mark."""

    def __init__(self, source: str, stream: Source) -> None:
        self.number = 0
        self.cut = False
        self._source = source
        self._stream = stream
        self._iterator = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    def _read(self) -> Iterator[bytes]:
        rest = b""
        for block in self._blocks():
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                self.number += 1
                yield line
            if len(rest) > MAX_LINE:
                self.number += 1
                raise Damaged(self._source, f"at line {self.number}", f"a line longer than {MAX_LINE} bytes")
        if rest:
            self.cut = True
            self.number += 1
            raise Damaged(self._source, f"at line {self.number}", "it ends amid a line")

    def _blocks(self) -> Iterator[bytes]:
        """What the frames hold, one after another. Small bites: a block of four bytes may expand to 128 KiB."""
        frame, begun = None, False
        while data := self._stream.read(_BLOCK):
            for at in range(0, len(data), _BITE):
                bite = data[at : at + _BITE]
                while bite:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    try:
                        out = frame.decompress(bite)
                    except zstandard.ZstdError as error:
                        if not begun:
                            raise InvalidInput(
                                "export", self._source, "is not an export of a ledger: no zstd"
                            ) from None
                        raise Damaged(self._source, f"after line {self.number}", f"zstd: {error}") from None
                    begun = True
                    if out:
                        yield out
                    bite = b""
                    if frame.eof:
                        bite, frame = frame.unused_data, None
        if frame is not None:
            self.cut = True
            raise Damaged(self._source, f"after line {self.number}", "it ends amid a compressed frame")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a whole export holds. ``checkpoint``: the newest signed note in it; ``signed``: how many events that covers.

    ``note``: a sentence about a followed export that ends amid a batch.
    """

    header: Header
    events: int
    root: bytes
    checkpoint: str | None
    signed: int | None
    note: str | None


def peek_header(path: Path) -> Header:
    """The first line. Raises InvalidInput, Damaged, OSError."""
    with path.open("rb") as stream:
        return Reader(str(path), stream).header


@bulk()
def check_file(
    path: Path, progress: Callable[[int], object] = lambda events: None, *, size: int | None = None
) -> Checked:
    """Read a whole export, or its first ``size`` bytes, and check everything that can be checked without a database.

    Raises Damaged, InvalidInput.
    """
    check = Check()
    events, newest = 0, None
    with path.open("rb") as stream:
        reader = Reader(str(path), stream if size is None else Beginning(stream, size))
        for chunk in reader.chunks():
            if wrong := check.wrong(chunk.rows):
                seq, why = wrong
                raise Damaged(str(path), f"at event {seq}", why)
            events += len(chunk.rows)
            newest = chunk.checkpoints[-1] if chunk.checkpoints else newest
            progress(len(chunk.rows))
    note = None
    if reader.unmarked:
        note = f"the file ends amid a batch after {events:,} events; what came behind is not known"
    return Checked(
        reader.header, events, reader.vouched[1], newest and newest[1], newest and newest[0].size, note
    )
