"""``export --follow`` holds what was committed, wherever it is cut, and never splices two histories."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from ledger.archive.reader import Damaged, check_file
from ledger.archive.transfer import import_file
from ledger.archive.writer import Follow
from ledger.book import Book
from ledger.errors import InvalidInput
from ledger.store import Database
from tests.ledger.archive.sample import claim, lines, save, state, tree, write, written, wrong
from tests.ledger.tamper import tamper


def test_a_followed_export_has_what_was_committed_and_is_gone_on_with(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "followed.zst"
    follow = Follow(database, file)
    assert follow.step() == len(tree(database))
    book = Book(database, actor="test")
    book.allocate(claim(7000))
    assert follow.step() == 1
    assert follow.step() == 0
    follow.close()
    before = file.stat().st_size
    book.allocate(claim(7001))
    follow = Follow(database, file)
    follow.step()
    follow.close()
    os.truncate(file, (before + file.stat().st_size) // 2)  # killed amid a frame
    checked = check_file(file)
    events = checked.events
    assert checked.header.followed and events == len(tree(database)) - 1
    assert checked.note is not None and checked.note.startswith(
        f"the file ends amid a batch after {events:,} events"
    )
    again = Follow(database, file)
    assert again.events == events
    assert again.step() == 1
    again.close()
    assert (check_file(file).events, check_file(file).note) == (events + 1, None)


def test_a_followed_export_restores_the_ledger(sqlite: Database, target: Database, tmp_path: Path) -> None:
    follow = Follow(sqlite, tmp_path / "followed.zst")
    follow.step()
    follow.close()
    import_file(target, tmp_path / "followed.zst", actor="test")
    assert tree(target) == tree(sqlite) and state(target) == state(sqlite) and wrong(target) == []


def test_a_followed_export_cut_anywhere_holds_what_its_last_mark_vouches_for(
    sqlite: Database, tmp_path: Path
) -> None:
    file = tmp_path / "followed.zst"
    follow = Follow(sqlite, file)
    book = Book(sqlite, actor="test")
    sizes = []
    for n in range(6):
        book.allocate(claim(8000 + n))
        follow.step()
        sizes.append((file.stat().st_size, follow.events))
    follow.close()
    whole = file.read_bytes()
    cut = tmp_path / "cut.zst"
    for end in range(sizes[0][0], len(whole) + 1, 47):
        cut.write_bytes(whole[:end])
        expected = max(events for size, events in sizes if size <= end)
        # The mark vouches for its batch as soon as it is whole; only the frame's checksum may be missing then
        assert expected <= check_file(cut).events <= expected + 1
        resumed = Follow(sqlite, cut)
        assert resumed.events == expected
        resumed.step()
        resumed.close()
        assert (check_file(cut).events, check_file(cut).note) == (sizes[-1][1], None)


@pytest.mark.parametrize(
    ("more", "last"), [(1, b'{"actor":'), (300, b'{"tile":')], ids=["an event", "a tile"]
)
def test_whole_lines_behind_the_last_mark_are_not_handed_out(
    sqlite: Database, tmp_path: Path, more: int, last: bytes
) -> None:
    file = tmp_path / "followed.zst"
    follow = Follow(sqlite, file)
    follow.step()
    marked = follow.events
    Book(sqlite, actor="test").allocate_many([claim(8000 + n) for n in range(more)])
    follow.step()
    follow.close()
    content = lines(file)
    while not content[-1].startswith(last):
        content.pop()
    checked = check_file(save(file, content))
    assert (checked.events, checked.note is not None) == (marked, True)


def test_a_cut_is_forgiven_only_behind_a_mark_of_a_followed_export(sqlite: Database, tmp_path: Path) -> None:
    file = tmp_path / "followed.zst"
    follow = Follow(sqlite, file)
    follow.step()
    follow.close()
    header, *rest = lines(file)
    promising = json.dumps({**json.loads(header), "events": follow.events}).encode()
    for content in ([header, b'{"mar'], [promising, *rest, b'{"en']):
        file.write_bytes(zstandard.compress(b"\n".join(content)))
        with pytest.raises(Damaged, match="it ends amid a line"):
            check_file(file)


def test_a_followed_export_that_was_killed_as_it_began_begins_anew(sqlite: Database, tmp_path: Path) -> None:
    file = tmp_path / "followed.zst"
    Follow(sqlite, file).close()
    first = file.read_bytes()
    for end in (0, 3, len(first) // 2, len(first) - 1):
        file.write_bytes(first[:end])
        follow = Follow(sqlite, file)
        follow.step()
        follow.close()
        assert (check_file(file).events, check_file(file).note) == (len(tree(sqlite)), None)


def _unfinished() -> bytes:
    """The beginning of somebody's compressed file."""
    return zstandard.compress(os.urandom(100_000))[:50_000]


@pytest.mark.parametrize(
    "content", [b"m", b"somebody's notes", _unfinished()], ids=["m", "notes", "unfinished"]
)
def test_a_file_that_is_no_export_is_left_alone(sqlite: Database, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="is no export"):
        Follow(sqlite, file)
    assert file.read_bytes() == content


def test_a_followed_export_that_was_damaged_is_not_cut_there(sqlite: Database, tmp_path: Path) -> None:
    """What stands behind may be nowhere else."""
    file = tmp_path / "followed.zst"
    follow = Follow(sqlite, file)
    first = file.stat().st_size
    follow.step()
    follow.close()
    content = bytearray(file.read_bytes())
    content[(first + len(content)) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(Damaged, match=f"cut or changed behind byte {first}"):
        Follow(sqlite, file)
    assert file.read_bytes() == content
    # Nor is it taken for one that ends there
    with pytest.raises(Damaged, match="cut or changed after line 2: zstd"):
        check_file(file)


def test_a_file_that_follows_another_ledger_is_left_alone(
    sqlite: Database, empty: Callable[[], Database], tmp_path: Path
) -> None:
    file = tmp_path / "followed.zst"
    follow = Follow(sqlite, file)
    follow.step()
    follow.close()
    other = empty()
    write(other)
    with pytest.raises(InvalidInput, match="follows another ledger, or this one went back in time"):
        Follow(other, file)
    with pytest.raises(InvalidInput, match="holds a finished export"):
        Follow(sqlite, written(sqlite, tmp_path / "finished.zst"))


@pytest.mark.parametrize("number", [1, 2**53, 2**64])
def test_the_place_to_go_on_from_is_the_ledgers_word_not_the_files(
    sqlite: Database, tmp_path: Path, number: int
) -> None:
    file = tmp_path / "followed.zst"
    following = Follow(sqlite, file)
    following.step()
    following.close()
    content = [
        re.sub(rb'"xid":\d+,"seq":\d+', b'"xid":%d,"seq":%d' % (number, number), line) for line in lines(file)
    ]
    save(file, content)
    Book(sqlite, actor="test").allocate(claim(9000))
    following = Follow(sqlite, file)
    assert following.step() == 1
    following.close()
    assert check_file(file).events == len(tree(sqlite))


def test_two_do_not_follow_into_one_file(sqlite: Database, tmp_path: Path) -> None:
    following = Follow(sqlite, tmp_path / "followed.zst")
    following.step()
    with pytest.raises(InvalidInput, match="by another export"):
        Follow(sqlite, tmp_path / "followed.zst")
    following.close()
    Follow(sqlite, tmp_path / "followed.zst").close()


@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
def test_a_file_that_is_taken_away_while_it_is_followed_into_is_missed(
    sqlite: Database, tmp_path: Path, how: str
) -> None:
    """What goes into a file that has no name any more is nowhere, and looks well."""
    file = tmp_path / "followed.zst"
    following = Follow(sqlite, file)
    following.step()
    if how == "cut":
        os.truncate(file, 100)
    else:
        content = file.read_bytes()
        file.unlink()
        if how == "replaced":
            file.write_bytes(content)
    with pytest.raises(InvalidInput, match="was moved, removed or changed by another"):
        following.step()
    following.close()


def test_a_ledger_that_goes_back_in_time_while_it_is_followed_is_not_spliced(
    sqlite: Database, tmp_path: Path
) -> None:
    book = Book(sqlite, actor="test")
    following = Follow(sqlite, tmp_path / "followed.zst")
    following.step()
    book.allocate(claim(9000))
    following.step()
    tamper(sqlite, "ledger", "DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)")
    with pytest.raises(InvalidInput, match="went back in time"):
        following.step()
    following.close()
