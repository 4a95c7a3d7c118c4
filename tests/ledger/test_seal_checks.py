"""One byte changed behind the guard's back is found, and named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger import pools
from ledger.book import Book
from ledger.checkpoint import Checkpoint
from ledger.errors import InvalidRequest, LedgerCorrupt
from ledger.note import SignerKey
from ledger.proof import verify_proof
from ledger.prove import NotSealed, prove, prove_growth
from ledger.seal import OutsideFile, Sealer
from ledger.seal_checks import checks
from ledger.store import Database, seals
from ledger.verify import Check, verify
from tests.ledger.tamper import tamper
from tests.ledger.test_seal import KEY, POOL, write
from tests.servers.postgres import PostgresServer


def fill(url: str) -> None:
    """A ledger of 602 events: 600 sealed under two checkpoints, two that came later."""
    with closing(Database(url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(pools.from_object(POOL))
        sealer = Sealer(database, key=KEY)
        write(book, 0, 299)
        sealer.seal()
        write(book, 299, 300)
        sealer.seal()
        write(book, 599, 2)


@pytest.fixture(scope="session")
def filled_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("filled") / "ledger.db"
    shutil.copyfile(migrated_sqlite, file)
    fill(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def filled_template(postgres: PostgresServer, migrated_template: str) -> str:
    fill(postgres.create_database("filled", template=migrated_template))
    return "filled"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A copy of what ``fill`` made."""
    if request.param == "sqlite":
        file = tmp_path / "ledger.db"
        shutil.copyfile(request.getfixturevalue("filled_sqlite"), file)
        url = f"sqlite:///{file}"
    else:
        template = request.getfixturevalue("filled_template")
        url = request.getfixturevalue("fresh_postgres")(template)
    with closing(Database(url)) as database:
        yield database


def found(database: Database, *keys: SignerKey, outside: OutsideFile | None = None) -> list[str]:
    report = verify(database, checks([key.verifier for key in keys or (KEY,)], outside))
    return [finding.what for checked in report.checked for finding in checked.findings]


def test_an_honest_ledger_has_nothing_to_find(database: Database, tmp_path: Path) -> None:
    outside = OutsideFile(tmp_path / "checkpoint")
    Sealer(database, key=KEY, outside=outside).seal()
    assert found(database, outside=outside) == []


def test_what_is_signed_while_it_runs_is_no_step_back_in_time(database: Database, tmp_path: Path) -> None:
    sealer = Sealer(database, key=KEY, outside=OutsideFile(tmp_path / "checkpoint"))
    signed: list[str | None] = []

    def meanwhile(_: Check) -> Callable[[int], None]:
        signed.append(sealer.seal().note)
        write(Book(database, actor="test"), 601 + len(signed), 1)
        return lambda events: None

    report = verify(database, checks([KEY.verifier], OutsideFile(tmp_path / "checkpoint")), begins=meanwhile)
    assert report.ok and len(signed) == 2 and all(signed)


def test_changed_events_are_named_whatever_was_changed(database: Database) -> None:
    changes = {
        1: "actor = 'test2'",
        42: "pod_uid = 'x'",
        256: "at = '2026-01-01T00:00:00.000000Z'",
        257: "version = 77",
        600: "node = NULL",
    }
    for seq, change in changes.items():
        tamper(database, "ledger", f"UPDATE ledger SET {change} WHERE seq = {seq}")
    for what, seq in zip(found(database), changes, strict=True):
        assert what.startswith(f"event {seq} (")
        assert what.endswith(f"is not what was sealed as entry {seq - 1}: it was changed")


def test_a_renamed_pool_is_named_before_its_events(database: Database) -> None:
    with database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE pool SET name = 'q'")
    first, second, *_ = found(database)
    assert first == "pool 'q' (row 1): its name was changed, or else all of its first 16 sealed events were"
    assert second.startswith("event 1 (PoolCreated q) is not what was sealed as entry 0")


def test_a_removed_event_is_named(database: Database) -> None:
    tamper(database, "ledger", "DELETE FROM ledger WHERE seq = 300")
    assert found(database) == ["event 300 was sealed as entry 299, but it is not in the ledger any more"]


def test_an_event_put_in_before_the_end_is_named(database: Database) -> None:
    columns = "xid, at, pool_id, ip, version, kind, state, namespace, pod, container_id, if_name, network"
    tamper(database, "ledger", "DELETE FROM ledger WHERE seq = 300")
    over = "" if database.sqlite else "OVERRIDING SYSTEM VALUE"
    tamper(
        database,
        "ledger",
        f"INSERT INTO ledger (seq, {columns}) {over} SELECT -7, {columns.replace('version', '900')} FROM ledger WHERE seq = 299",
    )
    assert (
        "event -7 stands before the end of what was sealed, but was not there then: it was put in later"
        in found(database)
    )


def test_a_changed_seal_is_told_from_a_changed_event(database: Database) -> None:
    with database.read() as tx:
        batch = seals.batches(tx, 0, 1)[0]
    changed = batch.hashes[:64] + bytes([batch.hashes[64] ^ 1]) + batch.hashes[65:]
    tamper(database, "seal", "UPDATE seal SET hashes = {} WHERE first = 0", changed)
    first, second = found(database)[:2]
    assert first.endswith("is not what was sealed as entry 2: its seal was changed")
    assert "entries 0 to 255 do not lead to the stored node 0 of level 1" in second


def test_a_changed_order_is_found(database: Database) -> None:
    whole = "count = 256, min_seq = 1, max_seq = 256"
    for columns, says in (
        ("seqs = '1-255'", "the seal at entry 0 is damaged: its columns disagree"),
        ("seqs = '1-256', min_seq = 7", "the seal at entry 0 is damaged: its columns disagree"),
        ("seqs = '1-255', count = 255, max_seq = 255", "entries 0 to 254 is damaged or out of order"),
        ("seqs = '2,1,3-256'", "event 2 (Allocated"),
        ("seqs = 'x'", "the seal at entry 0 is damaged"),
        ("seqs = '5-3'", "the seal at entry 0 is damaged"),
        (
            "seqs = '1000000000001-1000000000256', min_seq = 1000000000001, max_seq = 1000000000256",
            "not in the ledger",
        ),
        ("seqs = '1-255,255', max_seq = 255", "event 255 is sealed twice"),
    ):
        tamper(database, "seal", f"UPDATE seal SET {whole} WHERE first = 0")
        tamper(database, "seal", f"UPDATE seal SET {columns} WHERE first = 0")
        assert any(says in what for what in found(database)), columns


SMALL = 11
"""Events of ``small``."""


@pytest.fixture
def small(postgres_url: str) -> Iterator[Database]:
    """A sealed ledger on PostgreSQL."""
    database = Database(postgres_url)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_object(POOL))
    write(book, 0, SMALL - 1)
    Sealer(database, key=KEY).seal()
    yield database
    database.close()


def test_what_postgresqls_own_words_leave_out_is_in_the_leaf(small: Database) -> None:
    """An era, and the prefix length of an address."""
    tamper(
        small,
        "ledger",
        "UPDATE ledger SET at = (to_char(at, 'YYYY-MM-DD HH24:MI:SS.US') || '+00 BC')::timestamptz WHERE seq = 3",
    )
    tamper(small, "ledger", "UPDATE ledger SET ip = set_masklen(ip, 24) WHERE seq = 5")
    said = found(small)
    for seq in (3, 5):
        assert any(what.startswith(f"event {seq} ") and "is not what was sealed" in what for what in said), (
            said
        )


def test_nothing_is_sealed_twice(small: Database) -> None:
    tamper(small, "ledger", "UPDATE ledger SET xid = pg_current_xact_id() WHERE seq = 3")
    with pytest.raises(LedgerCorrupt, match="event 3 is sealed already"):
        Sealer(small, key=KEY).seal()
    with small.read() as tx:
        assert seals.end(tx)[0] == SMALL


def test_a_moved_transaction_is_named(small: Database) -> None:
    tamper(small, "ledger", "UPDATE ledger SET xid = pg_current_xact_id() WHERE seq = 3")
    with small.read() as tx:
        until = seals.end(tx)[1].xid
    first, second = found(small)
    assert re.fullmatch(
        rf"event 3 is of transaction \d+, but was sealed among those from 0 to {until}: .*", first
    )
    assert second.startswith("event 3 is sealed, but stands behind the end of what was sealed")


def test_a_moved_end_of_what_was_sealed_is_named(database: Database) -> None:
    tamper(database, "seal", "UPDATE seal SET seq = seq - 1 WHERE first = (SELECT max(first) FROM seal)")
    assert any(what.startswith("event 600 is sealed, but stands behind the end") for what in found(database))


def test_an_end_in_the_midst_that_was_moved_is_named(database: Database) -> None:
    column = "seq" if database.sqlite else "xid"
    tamper(database, "seal", f"UPDATE seal SET {column} = '99999' WHERE first = 0")
    said = "the seals of the entries before 256 end behind the one of 256 to 299: the end of one was changed"
    assert said in found(database)


def test_another_servers_transactions_are_noticed(small: Database) -> None:
    """As after a restored pg_dump: what is committed next would stand before what was sealed."""
    tamper(small, "ledger", "UPDATE ledger SET xid = (xid::text::bigint + 1000000)::text::xid8")
    write(Book(small, actor="test"), 10, 1)
    with pytest.raises(LedgerCorrupt, match="pg_dump"):
        Sealer(small, key=KEY).seal()
    assert any("replay --into" in what for what in found(small))


def test_an_outside_checkpoint_that_is_no_text_is_a_finding(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"\xff\xfe\x00")
    (what,) = found(database, outside=OutsideFile(path))
    assert what.startswith("checkpoint kept outside: ") and "no text" in what


def test_a_missing_batch_and_a_changed_node_are_found(database: Database) -> None:
    tamper(database, "seal_node", "UPDATE seal_node SET hash = {} WHERE level = 1 AND idx = 0", bytes(32))
    assert any("do not lead to the stored node 0 of level 1" in what for what in found(database))
    tamper(database, "seal", "DELETE FROM seal WHERE first = 256")
    assert any("entry 256 should follow" in what for what in found(database))


def test_a_node_that_is_none_of_the_tree_s_is_named_whatever_its_level(database: Database) -> None:
    for level in (-1, 0, 7, 8, 32_767):
        tamper(
            database, "seal_node", "INSERT INTO seal_node (level, idx, hash) VALUES ({}, 0, {})", level, b""
        )
    assert sorted(found(database)) == sorted(
        f"node 0 of level {level} is stored, but the tree of what is sealed has no such node"
        for level in (-1, 0, 7, 8, 32_767)
    )


def test_a_changed_checkpoint_is_found(database: Database) -> None:
    with database.read() as tx:
        first, second = seals.checkpoints(tx)
    tamper(
        database,
        "checkpoint",
        "UPDATE checkpoint SET note = {} WHERE size = 300",
        first.note.replace("\n300\n", "\n301\n"),
    )
    (what,) = found(database)
    assert what.startswith("checkpoint of 300 entries: the signature of") and "was changed" in what
    tamper(database, "checkpoint", "UPDATE checkpoint SET note = {} WHERE size = 300", second.note)
    assert found(database) == ["checkpoint of 300 entries: its row says otherwise than its note"]
    forged = Checkpoint(KEY.name, 300, bytes(32))
    tamper(
        database,
        "checkpoint",
        "UPDATE checkpoint SET note = {}, root = {} WHERE size = 300",
        forged.sign(KEY),
        forged.root,
    )
    (what,) = found(database)
    assert "the first 300 entries are not those that were signed" in what


def test_a_note_that_is_none_stops_the_sealer(database: Database) -> None:
    tamper(database, "checkpoint", "UPDATE checkpoint SET note = 'x' WHERE size = 600")
    for key in (KEY, None, SignerKey("another", bytes(32))):
        with pytest.raises(LedgerCorrupt, match="the note of the checkpoint of 600 entries is damaged"):
            Sealer(database, key=key).seal()


def test_of_several_keys_of_one_name_any_may_have_signed(database: Database) -> None:
    other = SignerKey(KEY.name, bytes(32))
    for keys in ((other, KEY), (KEY, other), (KEY, KEY)):
        assert found(database, *keys) == []
    assert all("no signature of a key that is known here" in what for what in found(database, other))


@pytest.mark.parametrize("size", [7, 601, 9_999])
def test_the_size_of_a_checkpoint_is_the_one_that_was_signed(database: Database, size: int) -> None:
    tamper(database, "checkpoint", f"UPDATE checkpoint SET size = {size} WHERE size = 600")
    assert prove(database, 600)["event"]["seq"] == 600
    with pytest.raises(NotSealed, match="event 601 is not under a signed checkpoint"):
        prove(database, 601)
    with pytest.raises(LedgerCorrupt, match=f"says {size:,} entries, its note 600"):
        Sealer(database, key=KEY).seal()
    with pytest.raises(LedgerCorrupt, match=f"says {size:,} entries, its note 600"):
        Sealer(database, key=None).seal()
    assert found(database) == [f"checkpoint of {size:,} entries: its row says otherwise than its note"]


def test_a_checkpoint_outside_tells_what_the_database_has_forgotten(
    database: Database, tmp_path: Path
) -> None:
    outside = OutsideFile(tmp_path / "checkpoint")
    outside.write(Checkpoint(KEY.name, 9_999, bytes(32)).sign(KEY))
    (what,) = found(database, outside=outside)
    assert "signed at 9,999 entries, but only 600 are sealed here: the ledger went back in time" in what
    outside.write(Checkpoint(KEY.name, 300, bytes(32)).sign(SignerKey(KEY.name, bytes(32))))
    (what,) = found(database, outside=outside)
    assert what.startswith("checkpoint kept outside: no signature of a key that is known")


def test_a_proof_is_made_from_what_is_stored_and_checked_alone(database: Database) -> None:
    for seq in (1, 2, 256, 257, 600):
        proven = verify_proof(json.dumps(prove(database, seq)), KEY.verifier)
        assert proven.event is not None and proven.event.seq == seq
    with pytest.raises(
        NotSealed, match="event 601 is not under a signed checkpoint yet; run `ipam-ledger seal`"
    ):
        prove(database, 601)
    with pytest.raises(InvalidRequest, match="no such event"):
        prove(database, 999)


def test_growth_is_proven_from_an_older_checkpoint(database: Database) -> None:
    with database.read() as tx:
        old = seals.checkpoints(tx)[0].note
    proven = verify_proof(json.dumps(prove_growth(database, old)), KEY.verifier)
    assert proven.old is not None and (proven.old.size, proven.checkpoint.size) == (300, 600)
    with pytest.raises(LedgerCorrupt, match="does not extend that checkpoint"):
        prove_growth(database, Checkpoint(KEY.name, 300, bytes(32)).sign(KEY))
    with pytest.raises(LedgerCorrupt, match="went back in time"):
        prove_growth(database, Checkpoint(KEY.name, 9_000, bytes(32)).sign(KEY))


def test_no_proof_is_made_of_a_changed_event(database: Database) -> None:
    tamper(database, "ledger", "UPDATE ledger SET node = 'node2' WHERE seq = 42")
    with pytest.raises(LedgerCorrupt, match="event 42 is not what was sealed"):
        prove(database, 42)
