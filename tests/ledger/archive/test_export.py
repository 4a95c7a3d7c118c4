"""An export holds the whole ledger; an import is exactly it again; what was cut or changed is refused, and where is said."""

from __future__ import annotations

import io
import json
import multiprocessing
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
import zstandard

from ledger import fence, pools
from ledger.archive.beside import Checking
from ledger.archive.lines import parse
from ledger.archive.loader import Loader
from ledger.archive.order import in_tree_order
from ledger.archive.reader import FORMAT, Checked, Damaged, check_file
from ledger.archive.transfer import import_file, replay_into
from ledger.archive.writer import Follow, export
from ledger.book import Book
from ledger.errors import InvalidInput, InvalidRequest, LedgerCorrupt, LedgerError, Unfinished
from ledger.merkle import TILE, NotProven, leaf_hashes
from ledger.schema import ledger
from ledger.seal import Sealer
from ledger.store import Database, fences, load, seals
from tests.ledger.archive.sample import KEY, claim, lines, pool, save, state, tree, write, written, wrong
from tests.ledger.cli import Cli
from tests.ledger.tamper import tamper, text


def blank(database: Database) -> bool:
    """Whether it is as a migration made it."""
    found = {index["name"] for index in sa.inspect(database.engine).get_indexes("ledger")}
    with database.read() as tx:
        return load.is_empty(tx) and not fences.turns(tx) and found >= {i.name for i in ledger.indexes}


def test_an_import_is_the_ledger_again(database: Database, target: Database, tmp_path: Path) -> None:
    file = written(database, tmp_path / "ledger.zst")
    checked = check_file(file)
    events = len(tree(database))
    assert (checked.header.events, checked.events, checked.note) == (events, events, None)
    assert checked.signed == 443
    loaded, _ = import_file(target, file, actor="test")
    assert (loaded.events, loaded.now) == (events, events)
    assert tree(target) == tree(database)
    assert state(target) == state(database)
    assert wrong(target) == []
    with target.read() as there, database.read() as here:
        assert [c.note for c in seals.checkpoints(there)] == [c.note for c in seals.checkpoints(here)]
        assert seals.end(there)[0] == events


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_was_written_into_a_restored_dump_can_be_brought_over(
    database: Database, target: Database, tmp_path: Path
) -> None:
    """Its server has not begun the transactions that it names: new events would stand before those that were sealed."""
    tamper(database, "ledger", "UPDATE ledger SET xid = (xid::text::bigint + 1000000)::text::xid8")
    tamper(database, "seal", "UPDATE seal SET xid = (xid::text::bigint + 1000000)::text::xid8")
    book = Book(database, actor="test")
    book.release(claim(1).attachment)
    book.allocate(claim(7000))
    follow = Follow(database, tmp_path / "followed.zst")
    with pytest.raises(LedgerCorrupt, match=r"nothing is followed here.*pg_dump"):  # it would wait for ever
        follow.step()
    follow.close()
    events = check_file(written(database, tmp_path / "ledger.zst")).events
    assert replay_into(database, target, actor="test").events == events
    assert state(target) == state(database)
    assert wrong(target) == []


def test_a_ledger_goes_on_after_an_import_once_the_fence_is_lifted(
    database: Database, target: Database, tmp_path: Path
) -> None:
    import_file(target, written(database, tmp_path / "ledger.zst"), actor="test")
    raised = fence.status(target)
    assert raised is not None and raised.raised and raised.reason.startswith("imported from ledger.zst")
    fence.lift(target, reason="compared", actor="test")
    book = Book(target, actor="test")
    again = book.allocate(claim(3))[0]  # it was released, and comes back to its address
    assert again.event is not None and (again.event.reason, again.event.version) == ("returning", 3)
    assert book.allocate(claim(1))[0].event is None  # it still holds its own
    book.allocate(claim(9000, "six"))
    assert Sealer(target, key=KEY).seal().size == len(tree(target))
    assert wrong(target) == []
    second = written(target, tmp_path / "second.zst")
    assert check_file(second).events == len(tree(target))


def test_tree_order_is_the_same_however_much_is_read_at_once(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def order() -> tuple[list[bytes], list[int]]:
        data: list[bytes] = []
        notes = []
        with sqlite.read() as tx:
            for part in in_tree_order(tx):
                data += part.data
                if part.note:
                    assert part.note.size == len(data)
                    notes.append(part.note.size)
        return data, notes

    whole = order()
    monkeypatch.setattr("ledger.archive.order.BATCHES", 1)
    monkeypatch.setattr("ledger.archive.order.CHUNK", 1)
    assert order() == whole


def test_a_checkpoint_of_nothing_comes_first(empty: Callable[[], Database], tmp_path: Path) -> None:
    database, target = empty(), empty()
    sealer = Sealer(database, key=KEY)
    sealer.seal()
    Book(database, actor="test").apply_pool(pools.from_object(pool("p", "10.0.0.0/24")))
    sealer.seal()
    import_file(target, written(database, tmp_path / "ledger.zst"), actor="test")
    with target.read() as tx:
        assert [each.size for each in seals.checkpoints(tx)] == [0, 1]


def test_a_replay_into_another_database_is_the_same(database: Database, target: Database) -> None:
    replay_into(database, target, actor="test")
    assert tree(target) == tree(database)
    assert state(target) == state(database)
    assert wrong(target) == []


def test_a_replay_up_to_a_moment_holds_what_was_then(sqlite: Database, target: Database) -> None:
    every = [json.loads(leaf) for leaf in tree(sqlite)]
    moment = every[200]["at"]
    replay_into(sqlite, target, until=datetime.fromisoformat(moment), actor="test")
    assert [json.loads(leaf) for leaf in tree(target)] == [event for event in every if event["at"] <= moment]
    assert wrong(target) == []


def test_nothing_is_imported_over_something_else(sqlite: Database, tmp_path: Path) -> None:
    file = written(sqlite, tmp_path / "ledger.zst")
    with pytest.raises(InvalidRequest, match="is not empty"):
        import_file(sqlite, file, actor="test")


def test_an_interrupted_import_is_resumed(
    sqlite: Database, target: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.archive.reader.TAKE", 100)  # a tile is a transaction
    file = written(sqlite, tmp_path / "ledger.zst")

    def stop(events: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(target, file, actor="test", progress=stop)
    with target.read() as tx:
        assert seals.end(tx)[0] == TILE
    loaded, _ = import_file(target, file, actor="test")
    assert (loaded.events, loaded.now) == (len(tree(sqlite)), len(tree(sqlite)) - TILE)
    assert tree(target) == tree(sqlite) and state(target) == state(sqlite) and wrong(target) == []
    with pytest.raises(InvalidRequest, match="is not empty"):
        import_file(target, file, actor="test")


def test_nothing_of_an_import_is_sealed_again(sqlite: Database, target: Database) -> None:
    """Though a slow transaction tore tree order apart: what was sealed first may have the highest position."""
    torn = tree(sqlite)
    torn = [torn[0], torn[-1], *torn[1:-1]]
    with Loader(target, reason="r", actor="a") as loader:
        for part in (torn[:300], torn[300:]):
            loader.add(parse(part), leaf_hashes(part))
        loader.finish()
    sealed = Sealer(target, key=None).seal()
    assert (sealed.events, sealed.size) == (0, len(torn))


def test_an_older_followed_file_goes_on_with_an_imported_ledger(
    sqlite: Database, empty: Callable[[], Database], tmp_path: Path
) -> None:
    """In tree order, though that is not the order of positions, and though the file ends amid what was sealed together."""
    torn = tree(sqlite)
    late = torn.pop(max(n for n, line in enumerate(torn) if line.endswith(b'"version":1}')))
    torn.insert(3, late)
    half, target = empty(), empty()
    for database, upto in ((half, 5), (half, 300), (target, len(torn))):
        with Loader(database, reason="r", actor="a") as loader:
            for part in (torn[:3], torn[3:upto]) if upto == 300 else (torn[:upto],):
                loader.add(parse(part), leaf_hashes(part))
            if upto != 5:  # interrupted, and gone on with from another file, whose batches are others
                loader.finish()
    file = tmp_path / "followed.zst"
    for database in (half, target):
        follow = Follow(database, file)
        follow.step()
        follow.close()
    assert b"\n".join(torn) == b"\n".join(line for line in lines(file) if line.startswith(b'{"actor"'))
    assert check_file(file).events == len(torn)
    with pytest.raises(InvalidInput, match="or their order, are not those that were sealed here"):
        Sealer(sqlite, key=None).seal()
        Follow(sqlite, file)


def test_an_import_that_asks_a_followed_export_for_a_signature_is_told_where_there_is_one(
    sqlite: Database, tmp_path: Path
) -> None:
    follow = Follow(sqlite, tmp_path / "followed.zst")
    follow.step()
    follow.close()
    run = Cli(f"sqlite:///{tmp_path}/new.db")
    said = run("import", str(tmp_path / "followed.zst"), "--key", str(KEY.verifier), status=1)
    assert "verify --checkpoint" in said.err


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every export is checked by a process of its own, as large ones are."""
    monkeypatch.setattr("ledger.archive.beside.SMALL", 0)


@pytest.mark.usefixtures("beside")
def test_an_import_beside_its_check_is_the_ledger_again(
    sqlite: Database, target: Database, tmp_path: Path
) -> None:
    loaded, checked = import_file(target, written(sqlite, tmp_path / "ledger.zst"), actor="test")
    assert (loaded.events, checked.events) == (len(tree(sqlite)),) * 2
    assert tree(target) == tree(sqlite) and state(target) == state(sqlite) and wrong(target) == []


@pytest.mark.usefixtures("beside")
def test_what_is_refused_while_it_is_loaded_leaves_nothing(
    sqlite: Database, target: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.archive.reader.TAKE", 100)
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    last = max(at for at, line in enumerate(content) if b'"pod":"web-' in line)
    content[last] = content[last].replace(b'"pod":"web-', b'"pod":"bew-')
    with pytest.raises(Damaged, match="the events before this line are not those that were written"):
        import_file(target, save(tmp_path / "changed.zst", content), actor="test")
    assert blank(target)

    def refuse(checked: Checked) -> None:
        raise NotProven("somebody else signed it")

    with pytest.raises(NotProven):
        import_file(target, tmp_path / "ledger.zst", actor="test", accept=refuse)
    assert blank(target)


@pytest.mark.usefixtures("beside")
def test_what_no_database_takes_is_said_by_the_check(
    sqlite: Database, target: Database, tmp_path: Path
) -> None:
    """The database refuses it first, in words that say nothing of the file."""
    for table in ("seal", "seal_node", "checkpoint"):
        tamper(sqlite, table, f"DELETE FROM {table}")
    tamper(
        sqlite,
        "ledger",
        "UPDATE ledger SET ip = '10.0.300.1' WHERE seq = (SELECT min(seq) FROM ledger WHERE ip IS NOT NULL)",
    )
    with pytest.raises(Damaged, match=r"at event \d+: .*10\.0\.300\.1"):
        import_file(target, written(sqlite, tmp_path / "forged.zst"), actor="test")
    assert blank(target)


def test_a_followed_export_that_grows_is_imported_as_it_was_at_the_start(
    sqlite: Database, empty: Callable[[], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.archive.reader.TAKE", 100)
    file = tmp_path / "followed.zst"
    following = Follow(sqlite, file)
    following.step()
    events, book = following.events, Book(sqlite, actor="test")

    def goes_on(checked: Checked) -> None:
        book.allocate(claim(9000))
        following.step()

    loaded, _ = import_file(empty(), file, actor="test", accept=goes_on)
    assert loaded.events == events < following.events
    following.close()


@pytest.mark.usefixtures("beside")
def test_a_check_that_is_killed_is_said(sqlite: Database, tmp_path: Path) -> None:
    file = written(sqlite, tmp_path / "ledger.zst")
    with Checking(file, file.stat().st_size) as check:
        (process,) = multiprocessing.active_children()
        process.kill()  # long before it is ready: it is an interpreter that starts
        with pytest.raises(LedgerError, match="was ended"):
            check.wait()
    assert multiprocessing.active_children() == []


def test_over_half_an_import_nothing_is_written(
    sqlite: Database, target: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.archive.reader.TAKE", 100)
    file = written(sqlite, tmp_path / "ledger.zst")

    def stop(events: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(target, file, actor="test", progress=stop)
    cli = Cli(target.url.render_as_string(hide_password=False))
    stands = {row["what"]: row for row in cli("db", "check", "-o", "jsonl", status=1).rows}["import"]
    assert not stands["ok"] and "import` it again" in stands["stands"]
    following = Follow(target, tmp_path / "followed.zst")
    for change in (
        lambda: export(target, io.BytesIO()),
        following.step,
        lambda: replay_into(target, sqlite, actor="test"),
        lambda: Book(target, actor="test").apply_pool(pools.from_object(pool("other", "10.9.0.0/24"))),
        lambda: Book(target, actor="test").apply_pool(pools.from_object(pool("p", "10.0.0.0/22"))),
        lambda: fence.lift(target, reason="r", actor="a"),
    ):
        with pytest.raises(Unfinished, match="import` it again"):
            change()
    following.close()
    import_file(target, file, actor="test")
    cli("db", "check")
    assert fence.lift(target, reason="r", actor="a")
    assert tree(target) == tree(sqlite) and state(target) == state(sqlite)


def test_another_file_cannot_go_on_with_an_interrupted_import(
    sqlite: Database, empty: Callable[[], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = empty()
    file = written(sqlite, tmp_path / "ledger.zst")
    other = empty()
    write(other)
    foreign = written(other, tmp_path / "other.zst")
    from ledger.archive.reader import Reader

    with file.open("rb") as source, Loader(half, reason="r", actor="a") as loader:
        chunk = next(Reader("x", source).chunks())
        loader.add(chunk.rows, chunk.hashes)
    with pytest.raises(InvalidRequest, match="events of another import"):
        import_file(half, foreign, actor="test")


# What was cut or changed ------------------------------------------------------------------------------------


def test_a_cut_export_is_refused_wherever_it_was_cut(sqlite: Database, tmp_path: Path) -> None:
    whole = written(sqlite, tmp_path / "ledger.zst").read_bytes()
    cut = tmp_path / "cut.zst"
    for end in [*range(40), *range(40, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        with pytest.raises((Damaged, InvalidInput)):
            check_file(cut)


def test_lines_cut_off_the_end_are_missed(sqlite: Database, tmp_path: Path) -> None:
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    with pytest.raises(Damaged, match="at its end: there is no trailer"):
        check_file(save(tmp_path / "cut.zst", content[:-1]))
    with pytest.raises(Damaged, match="something follows the trailer"):
        check_file(save(tmp_path / "more.zst", [*content, content[5]]))


def test_any_changed_byte_of_the_file_is_found(sqlite: Database, tmp_path: Path) -> None:
    file = written(sqlite, tmp_path / "ledger.zst")
    whole, changed = file.read_bytes(), tmp_path / "changed.zst"
    chosen = random.Random(7)
    for _ in range(120):
        at = chosen.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << chosen.randrange(8)]) + whole[at + 1 :]
        changed.write_bytes(flipped)
        if text(flipped) == text(whole):
            assert check_file(changed).root == check_file(file).root
            continue
        with pytest.raises((Damaged, InvalidInput)):
            check_file(changed)


def events_at(content: list[bytes]) -> list[int]:
    return [n for n, line in enumerate(content) if line.startswith(b'{"actor"')]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c, e: c.__setitem__(e[41], c[e[41]].replace(b'"node1"', b'"node2"')),
         r"at line 258: .*the change is in one of 256, from event 1 to event 256"),
        (lambda c, e: c.__setitem__(e[300], c[e[300]].replace(b'"node1"', b'"node2"')),
         r"at line 3\d\d: the events before it are not those that this checkpoint signs"),
        (lambda c, e: c.pop(e[41]), "tile 0 does not belong here: an event is missing, or there is one too many"),
        (lambda c, e: c.insert(e[41], c[e[41]]), "a tile line is missing before this one"),
        (lambda c, e: c.__setitem__(slice(e[40], e[42]), [c[e[41]], c[e[40]]]), "the change is in one of 256"),
        (lambda c, e: c.__setitem__(e[41], c[e[41]].replace(b'"Allocated"', b'"Vanished"')), "at line 43: not an event"),
        (lambda c, e: c.__setitem__(e[41], c[e[41]].replace(b'"at":"2', b'"at":"X')), "at line 43: not an event"),
        (lambda c, e: c.__setitem__(e[41], c[e[41]][:-1]), "at line 43: not an event"),
        (lambda c, e: c.__setitem__(e[41], c[e[41]].replace(b',"at"', b', "at"')), "at line 43: not an event: it is not in canonical form"),
        (lambda c, e: c.__setitem__(e[41], b'{"tile":0,"root":"AAAA"}'), "tile 0 does not belong here"),
        (lambda c, e: c.__setitem__(257, c[257].replace(b'"tile":0', b'"tile":1')), "at line 258: tile 1 does not belong here"),
        (lambda c, e: c.__setitem__(e[41], b"{}"), "at line 43: this is no line of an export"),
        (lambda c, e: c.__setitem__(e[41], b"\xff"), "at line 43: not JSON"),
        (lambda c, e: c.pop(next(n for n, line in enumerate(c) if line.startswith(b'{"tile"'))), "at line 258: a tile line is missing before this one"),
        (lambda c, e: c.__setitem__(-1, c[-1].replace(b'"root":"', b'"root":"A')), r"the change is in one of|no base64"),
        (lambda c, e: c.__setitem__(0, c[0].replace(b'"events":', b'"events":1')), "the header promised"),
    ],
)  # fmt: skip
def test_a_changed_line_is_found_and_its_place_is_told(
    sqlite: Database, tmp_path: Path, change: Callable[[list[bytes], list[int]], object], says: str
) -> None:
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    change(content, events_at(content))
    with pytest.raises(Damaged, match=says):
        check_file(save(tmp_path / "changed.zst", content))


def test_an_event_out_of_order_is_found_even_where_every_hash_fits(
    sqlite: Database, empty: Callable[[], Database], tmp_path: Path
) -> None:
    """A writer who forges the whole file, roots and all, still cannot break the rules of a ledger."""
    with sqlite.read() as tx:
        first = seals.batches(tx, 0, 1)[0]
    tamper(sqlite, "seal", "DELETE FROM seal")
    tamper(sqlite, "seal_node", "DELETE FROM seal_node")
    tamper(sqlite, "checkpoint", "DELETE FROM checkpoint")
    victim = first.seqs[50]
    tamper(sqlite, "ledger", f"UPDATE ledger SET version = 2 WHERE seq = {victim}")
    forged = written(sqlite, tmp_path / "forged.zst")
    untouched = empty()
    with pytest.raises(Damaged, match=f"at event {victim}: version 2 comes where 1 should"):
        import_file(untouched, forged, actor="test")
    assert blank(untouched)
    with pytest.raises(LedgerCorrupt, match=f"event {victim}: version 2 comes where 1 should"):
        replay_into(sqlite, empty(), actor="test")


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"hello\n", b"\x00" * 50, b'{"format":"ipam-ledger/export/v2","schema":1}\n']
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes) -> None:
    for n, raw in enumerate((content, zstandard.ZstdCompressor().compress(content))):
        file = tmp_path / f"x{n}"
        file.write_bytes(raw)
        with pytest.raises((InvalidInput, Damaged)):
            check_file(file)


@pytest.mark.parametrize(
    "other",
    [{"format": "ipam-ledger/export/v2"}, {"schema": 0}, {"schema": True}, {"events": -1}, {"events": "5"}, {"events": 2**53}],
    ids=str,
)  # fmt: skip
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    header = {"format": FORMAT, "schema": 1, "events": 0, "checkpoint": None} | other
    with pytest.raises(InvalidInput, match="is not an export of a ledger"):
        check_file(save(tmp_path / "x.zst", [json.dumps(header).encode()]))


def test_an_export_of_a_newer_program_is_refused_by_name(sqlite: Database, tmp_path: Path) -> None:
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    content[0] = content[0].replace(b'"schema":1', b'"schema":2')
    with pytest.raises(InvalidInput, match="schema 2, newer than this program's 1; upgrade ipam-ledger"):
        check_file(save(tmp_path / "newer.zst", content))


def test_a_header_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not an export of a ledger"):
        check_file(save(tmp_path / "deep.zst", [b"[" * 100_000]))


def signed_otherwise(line: bytes) -> list[bytes]:
    """A letter of the signature is another."""
    at = line.rindex(KEY.name.encode()) + len(KEY.name) + 20
    return [line[:at] + (b"B" if line[at : at + 1] == b"A" else b"A") + line[at + 1 :]]


@pytest.mark.parametrize("damage", [lambda line: [], signed_otherwise], ids=["gone", "signed otherwise"])
def test_the_newest_checkpoint_stands_in_the_header_too(
    sqlite: Database, tmp_path: Path, damage: Callable[[bytes], list[bytes]]
) -> None:
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    at = max(n for n, line in enumerate(content) if line.startswith(b'{"checkpoint":'))
    content[at : at + 1] = damage(content[at])
    with pytest.raises(Damaged, match="the header's checkpoint is missing"):
        check_file(save(tmp_path / "unsigned.zst", content))


@pytest.mark.parametrize("schema", [b"0", b"-1", b"true", b"1.0", b'"1"', b"null"])
def test_an_export_of_no_schema_is_none(sqlite: Database, tmp_path: Path, schema: bytes) -> None:
    content = lines(written(sqlite, tmp_path / "ledger.zst"))
    content[0] = content[0].replace(b'"schema":1', b'"schema":' + schema)
    with pytest.raises(InvalidInput, match="is not an export of a ledger"):
        check_file(save(tmp_path / "none.zst", content))


def test_a_bomb_needs_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zst"
    bomb.write_bytes(zstandard.ZstdCompressor().compress(b"0" * 200_000_000))
    with pytest.raises(Damaged, match="a line longer than"):
        check_file(bomb)


def test_a_ledger_that_was_changed_is_not_exported(sqlite: Database) -> None:
    tamper(sqlite, "ledger", "UPDATE ledger SET node = 'x' WHERE seq = 42")
    with pytest.raises(LedgerCorrupt, match="event 42 is not what was sealed as entry 41"):
        export(sqlite, io.BytesIO())


@pytest.mark.parametrize(
    ("change", "said"),
    [("size = size - 1", "row of a checkpoint says"), ("note = 'x'", "note of the checkpoint of")],
)
def test_a_checkpoint_that_no_import_would_take_is_not_exported(
    sqlite: Database, change: str, said: str
) -> None:
    tamper(sqlite, "checkpoint", f"UPDATE checkpoint SET {change} WHERE id = 1")
    with pytest.raises(LedgerCorrupt, match=said):
        export(sqlite, io.BytesIO())
