"""The sealer folds what was committed, signs what extends the last signed tree, and refuses anything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ledger import fence, merkle, pools, seal
from ledger.book import Book
from ledger.canonical import leaf
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.claims import Claim, Node
from ledger.errors import Fenced, LedgerCorrupt
from ledger.events import Attachment, Cursor, Owner
from ledger.merkle import HASH, leaf_hash
from ledger.note import SignerKey
from ledger.seal import OutsideFile, Sealer, WentBack
from ledger.seal_checks import checks
from ledger.store import Database, seals, stream
from ledger.verify import CHECKS, verify

KEY = SignerKey("ledger.example/1", bytes(range(32)))
POOL = {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "p"},
        "spec": {"ipPoolSubs": [{"range": "10.0.0.0/22"}]}}  # fmt: skip


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


@pytest.fixture
def book(database: Database) -> Book:
    book = Book(database, actor="test")
    book.apply_pool(pools.from_object(POOL))
    return book


def claim(n: int) -> Claim:
    return Claim(
        ("p",), Owner("default", f"web-{n}", f"uid{n}"), Attachment(f"c{n}", "eth0", "net"), Node("node1")
    )


def write(book: Book, first: int, count: int) -> None:
    """``count`` allocations, each an event."""
    outcomes = book.allocate_many([claim(n) for n in range(first, first + count)])
    assert all(isinstance(o, tuple) for o in outcomes)


def all_rows(database: Database) -> list[stream.Row]:
    with database.read() as tx:
        return stream.after(tx, Cursor(), 10**6)


def test_a_seal_covers_every_event_in_commit_order(book: Book, database: Database) -> None:
    sealer = Sealer(database, key=KEY)
    for first, count in ((0, 3), (3, 250), (253, 5), (258, 300)):
        write(book, first, count)
        sealed = sealer.seal()
        assert sealed.events == count + (first == 0)
        assert sealed.note
    rows = all_rows(database)
    expected = b"".join(leaf_hash(leaf(stream.event_of(row))) for row in rows)
    with database.read() as tx:
        batches = seals.batches(tx, 0, 10**6)
        assert b"".join(b.hashes for b in batches) == expected
        assert [s for b in batches for s in b.seqs] == [row[0] for row in rows]
        assert seals.end(tx) == (559, stream.cursor_of(rows[-1]))
        beyond = rows[-1][0] + 1
        for batch in batches:
            for seq in (min(batch.seqs), max(batch.seqs)):
                at = batch.seqs.index(seq)
                assert seals.find(tx, seq) == (batch.first + at, batch.hashes[at * HASH : (at + 1) * HASH])
                assert seals.sealed_among(tx, [0, seq]) == seals.sealed_among(tx, [seq, beyond]) == {seq}
        assert (seals.find(tx, beyond), seals.sealed_among(tx, [0, beyond])) == (None, set())
        assert merkle.root_at(559, seals.tiles(tx)) == sealed.root == merkle.root_of(expected)
    assert open_checkpoint(sealed.note, KEY.verifier) == Checkpoint(KEY.name, 559, sealed.root)


@pytest.mark.parametrize("chunk", [1, 7, 50, 51, 52])
def test_chunks_are_sealed_in_the_order_of_the_ledger_whichever_is_read_first(
    book: Book, database: Database, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(seal, "CHUNK", chunk)
    write(book, 0, 50)
    counts: list[int] = []
    sealed = Sealer(database, key=None).seal(counts.append)
    assert sealed.events == sum(counts) == 51
    assert max(counts) <= chunk
    rows = all_rows(database)
    with database.read() as tx:
        assert [s for b in seals.batches(tx, 0, 10**6) for s in b.seqs] == [row[0] for row in rows]
        assert seals.end(tx) == (51, stream.cursor_of(rows[-1]))
    assert sealed.root == merkle.root_of(b"".join(leaf_hash(leaf(stream.event_of(row))) for row in rows))


def test_nothing_new_signs_nothing_new(book: Book, database: Database) -> None:
    sealer = Sealer(database, key=KEY)
    assert sealer.seal().note
    again = sealer.seal()
    assert (again.events, again.note) == (0, None)
    assert again.sentence() == "sealed 0 events; the tree has 1 entry (no new checkpoint)"


def test_without_a_key_events_are_folded_and_a_key_that_comes_later_signs_them(
    book: Book, database: Database
) -> None:
    write(book, 0, 5)
    assert (sealed := Sealer(database, key=None).seal()).size == 6 and sealed.note is None
    signed = Sealer(database, key=KEY).seal()
    assert (signed.events, signed.size) == (0, 6) and signed.note


def test_sealers_at_once_make_one_tree(book: Book, database: Database) -> None:
    write(book, 0, 700)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            Sealer(database, key=KEY).seal()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    Sealer(database, key=KEY).seal()
    with database.read() as tx:
        assert seals.end(tx)[0] == 701
        assert [c.size for c in seals.checkpoints(tx)] == [701]


def test_another_sealer_that_gets_in_at_any_step_is_no_step_back_in_time(postgres_url: str) -> None:
    mine, other = Database(postgres_url), Database(postgres_url)
    book = Book(other, actor="test")
    book.apply_pool(pools.from_object(POOL))
    left, done = 0, 0

    def after(_: object, __: object, statement: str, *rest: object) -> None:
        nonlocal left
        left -= not statement.startswith("INSERT")  # behind which nobody gets in before the commit
        if left == 0:
            write(book, done, 1)
            Sealer(other, key=KEY).seal()

    sa.event.listen(mine.engine, "after_cursor_execute", after)
    while left <= 0:  # until the other's turn is behind the last statement of a cycle
        done += 1
        left = done
        write(book, 1000 + done, 1)
        Sealer(mine, key=KEY).seal()
    assert done > 20
    with other.read() as tx:
        assert seals.end(tx)[0] == 1 + (done - 1) + done
    assert fence.status(other) is None
    assert verify(other, (*CHECKS, *checks([KEY.verifier]))).ok
    mine.close()
    other.close()


def test_events_of_a_transaction_still_open_wait_for_the_next_seal(postgres_url: str) -> None:
    database = Database(postgres_url)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_object(POOL))
    with database.begin() as slow:
        slow.connection.exec_driver_sql("SELECT pg_current_xact_id()")
        write(book, 0, 3)
        assert Sealer(database, key=KEY).seal().size == 1  # the pool, written before the slow one began
    assert Sealer(database, key=KEY).seal().size == 4
    database.close()


def test_the_checkpoint_is_kept_outside_too(book: Book, database: Database, tmp_path: Path) -> None:
    outside = OutsideFile(tmp_path / "deep" / "checkpoint")
    sealed = Sealer(database, key=KEY, outside=outside).seal()
    assert outside.read() == sealed.note
    outside.path.unlink()
    Sealer(database, key=KEY, outside=outside).seal()  # a cycle that was killed before it could write
    assert outside.read() == sealed.note


def test_a_ledger_that_went_back_in_time_is_not_signed(
    book: Book, database: Database, tmp_path: Path
) -> None:
    outside = OutsideFile(tmp_path / "checkpoint")
    write(book, 0, 5)
    Sealer(database, key=KEY, outside=outside).seal()
    outside.write(Checkpoint(KEY.name, 7, bytes(HASH)).sign(KEY))
    with pytest.raises(WentBack, match="a checkpoint of 7 entries was signed, but only 6 are sealed here"):
        Sealer(database, key=KEY, outside=outside).seal()
    raised = fence.status(database)
    assert raised is not None and raised.raised and raised.reason.startswith("the ledger went back in time")
    with pytest.raises(Fenced):
        book.allocate(claim(99))
    fence.lift(database, reason="to see what comes next", actor="test")
    write(book, 5, 5)  # it went another way since, and grew past what was signed
    Sealer(database, key=None).seal()
    with pytest.raises(WentBack, match="not the one that was signed at 7 entries"):
        Sealer(database, key=KEY, outside=outside).seal()
    with database.read() as tx:
        assert [c.size for c in seals.checkpoints(tx)] == [6]


def test_a_checkpoint_outside_that_is_not_ours_stops_the_sealer(
    book: Book, database: Database, tmp_path: Path
) -> None:
    outside = OutsideFile(tmp_path / "checkpoint")
    outside.write(Checkpoint(KEY.name, 1, bytes(HASH)).sign(SignerKey(KEY.name, bytes(32))))
    with pytest.raises(LedgerCorrupt, match=r"kept outside is not of this key.*move that checkpoint away"):
        Sealer(database, key=KEY, outside=outside).seal()
    outside.write("something else")
    with pytest.raises(LedgerCorrupt, match="kept outside is not of this key"):
        Sealer(database, key=KEY, outside=outside).seal()


def test_another_key_of_the_same_name_is_told_to_take_a_new_one(book: Book, database: Database) -> None:
    Sealer(database, key=KEY).seal()
    with pytest.raises(
        LedgerCorrupt, match=r"in the database is not of this key.*a new key needs a new name"
    ):
        Sealer(database, key=SignerKey(KEY.name, bytes(32))).seal()


def test_a_new_key_goes_on_where_the_old_one_ended(book: Book, database: Database) -> None:
    Sealer(database, key=KEY).seal()
    new = SignerKey("ledger.example/2", bytes(32))
    assert open_checkpoint(Sealer(database, key=new).seal().note or "", new.verifier).size == 1


@pytest.mark.parametrize("table", ["seal", "seal_node", "checkpoint"])
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_the_database_itself_refuses_to_change_a_seal(
    book: Book, database: Database, table: str, statement: str
) -> None:
    write(book, 0, 300)
    Sealer(database, key=KEY).seal()
    column = {"seal": "count", "seal_node": "hash", "checkpoint": "note"}[table]
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.begin() as tx:
        tx.connection.exec_driver_sql(statement.format(table, column))


def test_runs_are_short_and_come_back() -> None:
    for seqs, text in (((1,), "1"), ((3, 1, 2, 5, 6, 7), "3,1-2,5-7"), (tuple(range(1, 257)), "1-256")):
        assert seals.runs(seqs) == text
        assert seals.from_runs(text) == seqs
    for bad in ("", "1-", "1-257", "a", "1,,2", "1-99999999999", "3-1", "1,2", "1-1", "01"):
        with pytest.raises(ValueError):
            seals.from_runs(bad)
