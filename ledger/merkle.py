"""The Merkle tree of RFC 6962 section 2 (RFC 9162 section 2.1): SHA-256, leaf prefix 0x00, node prefix 0x01. Pure.

Leaves come in *tiles* of 256 (the widths of C2SP tlog-tiles). What is kept is every leaf hash and, for levels
1, 2, 3 …, the root of every complete subtree of 256, 65,536, … leaves. So one tile a level answers any
proof, about three at ten million leaves, and nothing that was stored ever changes.

::

    level 2      [ 65,536-leaf roots … ]                        a tile holds up to 256 hashes of its level
    level 1      [ 256-leaf roots … ][ … ]
    level 0      [ leaf hashes … ][ … ][ …, the last one may be short
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import LedgerError

HASH = 32
TILE = 256
TILE_HEIGHT = 8
EMPTY_ROOT = sha256(b"").digest()


class NotProven(LedgerError):
    """The hashes do not prove what is claimed."""


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a complete subtree: of ``TILE ** level`` leaves, the ``index``-th of its level from 0."""

    level: int
    index: int
    hash: bytes


TileReader = Callable[[int, int, int], bytes]
"""``(level, index, width)`` -> the first ``width`` hashes of a tile, joined. Width is 1–256."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\0" + data).digest()


def leaf_hashes(data: Iterable[bytes]) -> bytes:
    """The same of many, joined."""
    return b"".join([sha256(b"\0" + each).digest() for each in data])


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def fold(hashes: bytes) -> bytes:
    """The root over joined hashes, their count a power of two."""
    while len(hashes) > HASH:
        hashes = b"".join(
            [sha256(b"\1" + hashes[i : i + 64]).digest() for i in range(0, len(hashes), 2 * HASH)]
        )
    return hashes


def root_of(hashes: bytes) -> bytes:
    """The root over any number of joined leaf hashes, one at least (MTH of the RFC)."""
    return _join([fold(part) for part in _perfect_parts(hashes)])


def _perfect_parts(hashes: bytes) -> Iterator[bytes]:
    """Cut joined hashes into runs whose counts are the set bits of the whole count, largest first."""
    at, left = 0, len(hashes) // HASH
    while left:
        width = 1 << (left.bit_length() - 1)
        yield hashes[at : at + width * HASH]
        at, left = at + width * HASH, left - width


def _join(roots: Sequence[bytes]) -> bytes:
    """One root over the roots of perfect subtrees that stand side by side, largest first."""
    joined = roots[-1]
    for root in reversed(roots[:-1]):
        joined = node_hash(root, joined)
    return joined


class GrowingTree:
    """A tree that only grows, in constant memory: the perfect subtrees at its right edge and one unfinished tile."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[
            tuple[int, bytes]
        ] = []  # (height, root), heights falling; all heights >= TILE_HEIGHT
        self._tail = b""  # leaf hashes of the tile that is not full yet

    @classmethod
    def resume(cls, size: int, read: TileReader) -> GrowingTree:
        """The tree of ``size`` leaves as it stands in stored tiles."""
        tree = cls()
        tree.size = size
        for first, height in _peaks(0, size):
            if height < TILE_HEIGHT:
                tree._tail = read(0, size // TILE, size % TILE)
                break
            tree._peaks.append((height, _perfect_root(first, height, read)))
        return tree

    def extend(self, hashes: bytes) -> list[Node]:
        """Append joined leaf hashes; returns the subtrees that this completed, to be stored."""
        done: list[Node] = []
        self.size += len(hashes) // HASH
        tiles_before = (self.size - (len(self._tail) + len(hashes)) // HASH) // TILE
        pending = self._tail + hashes
        step = TILE * HASH
        whole = len(pending) // step
        for n in range(whole):
            root = fold(pending[n * step : (n + 1) * step])
            index = tiles_before + n
            done.append(Node(1, index, root))
            self._push(TILE_HEIGHT, root, index, done)
        self._tail = pending[whole * step :]
        return done

    def _push(self, height: int, root: bytes, index: int, done: list[Node]) -> None:
        while self._peaks and self._peaks[-1][0] == height:
            root = node_hash(self._peaks.pop()[1], root)
            height, index = height + 1, index // 2
            if height % TILE_HEIGHT == 0:
                done.append(Node(height // TILE_HEIGHT, index, root))
        self._peaks.append((height, root))

    def root_after(self, hashes: bytes) -> bytes:
        """The root that the tree would have after :meth:`extend`, which is not done."""
        grown = GrowingTree()
        grown.size, grown._peaks, grown._tail = self.size, list(self._peaks), self._tail
        grown.extend(hashes)
        return grown.root()

    def root(self) -> bytes:
        roots = [root for _, root in self._peaks]
        if self._tail:
            roots.append(root_of(self._tail))
        return _join(roots) if roots else EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class _Span:
    """The leaves from ``first`` up to, not including, ``end``."""

    first: int
    end: int


def _split(width: int) -> int:
    """The largest power of two below ``width`` (>= 2): where the RFC's tree divides."""
    return 1 << ((width - 1).bit_length() - 1)


def _inclusion_spans(index: int, size: int) -> list[_Span]:
    """PATH(m, D[n]): the siblings from the leaf up."""
    spans: list[_Span] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            spans.append(_Span(middle, end))
            end = middle
        else:
            spans.append(_Span(first, middle))
            first = middle
    return spans[::-1]


def _consistency_spans(old: int, new: int) -> list[_Span]:
    """PROOF(m, D[n]); the old tree's own root is left out when it is a node of the new tree."""
    if old in (0, new):
        return []
    spans: list[_Span] = []
    first, end = 0, new
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            spans.append(_Span(middle, end))
            end = middle
        else:
            spans.append(_Span(first, middle))
            first = middle
    if first:
        spans.append(_Span(first, end))
    return spans[::-1]


def _peaks(first: int, end: int) -> Iterator[tuple[int, int]]:
    """``(first leaf, height)`` of the perfect subtrees that make up a span, left to right."""
    while first < end:
        height = (end - first).bit_length() - 1
        yield first, height
        first += 1 << height


def _perfect_root(first: int, height: int, read: TileReader) -> bytes:
    level, rise = divmod(height, TILE_HEIGHT)
    tile, at = divmod(first >> (level * TILE_HEIGHT), TILE)
    width = 1 << rise
    return fold(read(level, tile, at + width)[at * HASH :])


def _root(span: _Span, read: TileReader) -> bytes:
    return _join([_perfect_root(first, height, read) for first, height in _peaks(span.first, span.end)])


def root_at(size: int, read: TileReader) -> bytes:
    """The root that the first ``size`` leaves had."""
    return _root(_Span(0, size), read) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, read: TileReader) -> list[bytes]:
    """The audit path of leaf ``index`` (from 0) in the tree of the first ``size`` leaves."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return [_root(span, read) for span in _inclusion_spans(index, size)]


def consistency_path(old: int, new: int, read: TileReader) -> list[bytes]:
    """What shows that the tree of ``new`` leaves begins with the tree of ``old``."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend a tree of {old}")
    return [_root(span, read) for span in _consistency_spans(old, new)]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2. ``leaf`` is a leaf's hash. Raises :class:`NotProven`."""
    if not 0 <= index < size:
        raise NotProven(f"entry {index} cannot be in a tree of {size} entries")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise NotProven(f"the path is too long for a tree of {size} entries")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise NotProven(f"the path is too short for a tree of {size} entries")
    if r != root:
        raise NotProven(f"entry {index} with this path does not lead to the root that was signed")


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """RFC 9162 section 2.1.4.2. Raises :class:`NotProven`."""
    if not 0 <= old <= new:
        raise NotProven(f"a tree of {new} entries cannot extend a tree of {old}")
    if old in (0, new):
        if path:
            raise NotProven("the path must be empty")
        if old == new and old_root != new_root:
            raise NotProven(f"two different trees of {new} entries")
        if old == 0 and old_root != EMPTY_ROOT:
            raise NotProven("the root of no entries must be the empty root")
        return
    if not path:
        raise NotProven("the path is empty")
    fn, sn = old - 1, new - 1
    hashes = list(path) if old & (old - 1) else [old_root, *path]
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = hashes[0]
    for c in hashes[1:]:
        if sn == 0:
            raise NotProven("the path is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise NotProven("the path is too short")
    if fr != old_root:
        raise NotProven(f"the path does not lead to the root of the first {old} entries")
    if sr != new_root:
        raise NotProven(f"the tree of {new} entries does not extend the tree of {old}: history was rewritten")
