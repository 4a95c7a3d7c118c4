"""The tree is the one of RFC 6962/9162: published vectors, a second opinion, and any size hypothesis picks."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from ledger import merkle
from ledger.merkle import HASH, GrowingTree, NotProven, leaf_hash, node_hash

# The vectors of the Certificate Transparency reference implementation (merkle_tree_test), also used by
# trillian and transparency-dev/merkle.
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
INCLUSION = [
    (0, 1, []),
    (0, 2, [A]),
    (1, 2, [ROOTS[1]]),
    (2, 3, [ROOTS[2]]),
    (1, 5, [ROOTS[1], B, D]),
    (0, 8, [A, B, C]),
    (5, 8, [D, E, ROOTS[4]]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [A, B, C]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", E, ROOTS[4]]),
    (2, 5, [B, D]),
]
# transparency-dev/merkle compact/range_test: leaf i is two bytes, little-endian
GOLDEN = {
    10: "56358c3d260db42b8236517f44b9d0cba1dcc1293a0888a97f19be85eb6d03ee",
    100: "75487d8581fcf29d023281e476bd700b6b336e170b01739e8d6a48348a282946",
    255: "4a676cb8a52a8a8777457da3c85d8ce899db744e10b93c308a97c0a30238fe2d",
    256: "a85234b7fb59d4c74e620c8fa4fcc7162655c3cea4a12717cbdab7154e5c6ac0",
    1000: "457ae06fcc47779e58e3c15b7e8b49c026d5f362b1db62d97c46e604602fc254",
}


class Stored:
    """Tiles in memory, written as the sealer writes them and as awkwardly cut as hypothesis likes."""

    def __init__(self) -> None:
        self.tree = GrowingTree()
        self.levels: dict[int, dict[int, bytes]] = {}
        self.leaves = b""

    def append(self, hashes: bytes) -> None:
        self.leaves += hashes
        for node in self.tree.extend(hashes):
            assert node.index not in self.levels.setdefault(node.level, {}), (
                "a stored node is never written twice"
            )
            self.levels[node.level][node.index] = node.hash

    def read(self, level: int, index: int, width: int) -> bytes:
        assert 1 <= width <= merkle.TILE
        if level == 0:
            got = self.leaves[index * 256 * HASH : (index * 256 + width) * HASH]
        else:
            got = b"".join(self.levels[level][index * 256 + i] for i in range(width))
        assert len(got) == width * HASH
        return got


def stored(leaves: list[bytes]) -> Stored:
    log = Stored()
    log.append(b"".join(map(leaf_hash, leaves)))
    return log


def mth(leaves: list[bytes]) -> bytes:
    """The RFC's definition, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def test_the_hashes_of_a_leaf_and_a_node_are_the_published_ones() -> None:
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert (
        node_hash(b"N123", b"N456").hex()
        == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert stored(LEAVES[:size]).tree.root().hex() == ROOTS[size]


@pytest.mark.parametrize("size", GOLDEN)
def test_larger_roots_are_the_published_ones(size: int) -> None:
    assert stored([i.to_bytes(2, "little") for i in range(size)]).tree.root().hex() == GOLDEN[size]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_inclusion_paths_are_the_published_ones(index: int, size: int, path: list[str]) -> None:
    log = stored(LEAVES)
    assert [h.hex() for h in merkle.inclusion_path(index, size, log.read)] == path
    merkle.verify_inclusion(
        leaf_hash(LEAVES[index]), index, size, [bytes.fromhex(h) for h in path], bytes.fromhex(ROOTS[size])
    )


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCY)
def test_consistency_paths_are_the_published_ones(old: int, new: int, path: list[str]) -> None:
    log = stored(LEAVES)
    assert [h.hex() for h in merkle.consistency_path(old, new, log.read)] == path
    merkle.verify_consistency(
        old, new, [bytes.fromhex(h) for h in path], bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    )


def test_pymerkle_agrees_on_roots_and_proofs() -> None:
    second = InmemoryTree(algorithm="sha256")
    log = Stored()
    entries = [f"entry {i}".encode() for i in range(600)]
    for n, entry in enumerate(entries, start=1):
        second.append_entry(entry)
        log.append(leaf_hash(entry))
        if n in (1, 2, 3, 255, 256, 257, 511, 512, 600):
            assert second.get_root() == log.tree.root() == mth(entries[:n])
    for index in (0, 1, 254, 255, 256, 511, 512, 599):
        theirs = second.prove_inclusion(index + 1)  # counts from 1
        # pymerkle's path starts with the leaf itself
        assert theirs.path[1:] == merkle.inclusion_path(index, 600, log.read)
    for old in (1, 2, 3, 255, 256, 257, 599):
        ours = merkle.consistency_path(old, 600, log.read)
        assert merkle.root_at(old, log.read) == second.get_root(old)
        merkle.verify_consistency(old, 600, ours, second.get_root(old), second.get_root())


def test_no_growth_is_proven_without_its_path_or_with_one_too_many() -> None:
    a, b, empty = leaf_hash(b"a"), leaf_hash(b"b"), merkle.EMPTY_ROOT
    merkle.verify_consistency(3, 3, [], a, a)
    merkle.verify_consistency(0, 3, [], empty, b)
    for old, new, path, old_root, new_root, says in (
        (3, 3, [], a, b, "two different trees of 3 entries"),
        (3, 3, [a], a, a, "the path must be empty"),
        (0, 3, [], a, b, "must be the empty root"),
        (0, 3, [a], empty, b, "the path must be empty"),
        (3, 5, [], a, b, "the path is empty"),
        (4, 3, [a], a, b, "cannot extend"),
        (-1, 3, [a], a, b, "cannot extend"),
    ):
        with pytest.raises(NotProven, match=says):
            merkle.verify_consistency(old, new, path, old_root, new_root)


def test_no_path_is_made_to_what_is_not_there() -> None:
    log = stored([b"a", b"b"])
    for old, new in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="cannot extend"):
            merkle.consistency_path(old, new, log.read)
    for index in (-1, 2):
        with pytest.raises(ValueError, match="is not in a tree of 2"):
            merkle.inclusion_path(index, 2, log.read)


@pytest.mark.parametrize("size", [0, 255, 256, 512, 768])
def test_a_tree_goes_on_where_its_tiles_end(size: int) -> None:
    log = stored([b"%d" % i for i in range(size)])
    resumed = GrowingTree.resume(size, log.read)
    assert resumed.root() == log.tree.root()
    assert resumed.extend(log.leaves[:9600]) == log.tree.extend(log.leaves[:9600])
    assert resumed.root() == log.tree.root()


def test_subtrees_of_65_536_leaves_are_kept_too() -> None:
    log, size = Stored(), 2 * 65_536 + 300
    log.append(b"".join([i.to_bytes(HASH, "big") for i in range(size)]))
    whole = [merkle.fold(log.leaves[n * 65_536 * HASH : (n + 1) * 65_536 * HASH]) for n in (0, 1)]
    assert log.levels[2] == dict(enumerate(whole))
    root = node_hash(node_hash(*whole), merkle.root_of(log.leaves[2 * 65_536 * HASH :]))
    assert (
        root == log.tree.root() == merkle.root_at(size, log.read) == GrowingTree.resume(size, log.read).root()
    )
    for index in (0, 65_535, 65_536, 131_072, size - 1):
        path = merkle.inclusion_path(index, size, log.read)
        merkle.verify_inclusion(index.to_bytes(HASH, "big"), index, size, path, root)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=6), data=st.data())
def test_any_batches_give_the_tree_of_the_definition(cuts: list[int], data: st.DataObject) -> None:
    leaves = [b"%d" % i for i in range(sum(cuts))]
    log, at = Stored(), 0
    for cut in cuts:
        log.append(b"".join(map(leaf_hash, leaves[at : at + cut])))
        at += cut
    size = len(leaves)
    whole = mth(leaves)
    assert log.tree.root() == whole == merkle.root_at(size, log.read)
    resumed = GrowingTree.resume(size, log.read)
    assert resumed.root() == log.tree.root()
    assert resumed.extend(log.leaves[:9600]) == log.tree.extend(log.leaves[:9600])
    assert resumed.root() == log.tree.root()
    if not size:
        return
    shown = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, shown - 1))
    root = mth(leaves[:shown])
    path = merkle.inclusion_path(index, shown, log.read)
    merkle.verify_inclusion(leaf_hash(leaves[index]), index, shown, path, root)
    growth = merkle.consistency_path(shown, size, log.read)
    merkle.verify_consistency(shown, size, growth, root, whole)

    for damaged in damages(path):
        with pytest.raises(NotProven):
            merkle.verify_inclusion(leaf_hash(leaves[index]), index, shown, damaged, root)
    with pytest.raises(NotProven):
        merkle.verify_inclusion(leaf_hash(b"another"), index, shown, path, root)
    for damaged in damages(growth):
        with pytest.raises(NotProven):
            merkle.verify_consistency(shown, size, damaged, root, whole)
    if shown < size:
        with pytest.raises(NotProven):
            merkle.verify_consistency(shown, size, growth, mth([*leaves[: shown - 1], b"rewritten"]), whole)
        with pytest.raises(NotProven):
            merkle.verify_consistency(shown, size, growth, root, mth(leaves[:-1]))


def damages(path: list[bytes]) -> list[list[bytes]]:
    flipped = [[*path[:i], bytes([h[0] ^ 8]) + h[1:], *path[i + 1 :]] for i, h in enumerate(path)]
    return [
        *flipped,
        [*path, sha256(b"more").digest()],
        [sha256(b"more").digest(), *path],
        *([path[:-1]] if path else []),
    ]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 8), (8, 8), (2**70, 8)])
def test_an_entry_outside_the_tree_proves_nothing(index: int, size: int) -> None:
    with pytest.raises(NotProven):
        merkle.verify_inclusion(bytes(32), index, size, [], bytes(32))
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_path(index, size, stored(LEAVES).read)


def test_ten_million_leaves_need_three_tiles_for_a_proof() -> None:
    """The shape only: how many hashes and tiles a proof asks for, counted on a tree of made-up hashes."""
    asked: set[tuple[int, int]] = set()

    def read(level: int, index: int, width: int) -> bytes:
        asked.add((level, index))
        return bytes(HASH * width)

    path = merkle.inclusion_path(7_654_321, 10_000_000, read)
    assert len(path) == 24
    assert len(asked) <= 3 + 2  # its own, and the ragged right edge
