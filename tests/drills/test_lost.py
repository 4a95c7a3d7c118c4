"""The database is lost, its export was followed, and both were killed. What was committed a moment before is all there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ledger import fence
from ledger.archive.reader import check_file
from ledger.book import Book
from ledger.store import Database
from tests.drills.conftest import Stage, address, claim
from tests.servers.postgres import PostgresServer


def wait_for(path: Path, events: int) -> None:
    """Until the followed file vouches for so many events; it is read while it is written."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.stat().st_size and check_file(path).events >= events:
            return
        time.sleep(0.1)
    raise AssertionError(f"the export never reached {events} events")


def test_a_lost_database_comes_back_from_a_followed_export(
    stages: Callable[[str], Stage], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    stage = stages(postgres_server.url("ledger"))
    file = tmp_path / "followed.zst"
    stage.tell("A ledger on PostgreSQL, and an export that follows it.")
    book = stage.book()
    follower = stage.start("export", "--follow", "-o", "followed.zst", "--interval", "0.1")
    try:
        held = {n: address(book, n) for n in range(40)}
        for n in range(0, 40, 4):
            book.release(claim(n).attachment)
            del held[n]
        wait_for(file, 51)
        stage.tell("The follower is killed, and starts again on the same file.")
        follower.kill()
        follower.wait()
        held[100] = address(book, 100)
        follower = stage.start("export", "--follow", "-o", "followed.zst", "--interval", "0.1")
        wait_for(file, 52)
        stage.tell("kill -9 to the database and to the follower. The database's disk is gone.")
        postgres_server.kill9()
    finally:
        follower.kill()
        follower.wait()
    new = f"sqlite:///{tmp_path / 'new.db'}"
    stage.run("import", "followed.zst", db=new)
    stage.run("verify", db=new)
    restored = Book(stage.database(new), actor="drill")
    assert {n: restored.held_by(claim(n).attachment)[0].ip for n in held} == held
    assert restored.pool("podnet").allocated == len(held)

    stage.tell("Nothing is given out until somebody says that it is safe.")
    said = stage.run("allocate", "podnet", "--name", "by-hand", "--reason", "drill", db=new, expect=1)
    assert "nothing is given out: imported from followed.zst" in said
    stage.run("fence", "lift", "--no-cluster", "--reason", "the export was followed to the end", db=new)
    assert address(restored, 200) not in held.values()
    assert not fence.status(restored.database).raised  # type: ignore[union-attr]
    _no_address_twice(restored.database)


def _no_address_twice(database: Database) -> None:
    with database.read() as tx:
        rows = (
            tx.connection.exec_driver_sql("SELECT ip FROM address WHERE state = 'allocated'").scalars().all()
        )
    assert len(rows) == len(set(rows))


def test_an_import_that_was_killed_is_gone_on_with(
    stages: Callable[[str], Stage], sqlite_url: str, tmp_path: Path
) -> None:
    stage = stages(sqlite_url)
    stage.tell("A ledger of 40,000 events is exported.")
    from bench.history import write

    database = stage.database()
    # Few enough to be checked at once, before the first chunk is loaded and committed
    write(database, 40_000)
    stage.run("export", "-o", "ledger.zst")
    stage.tell("Its import is killed half-way.")
    new = f"sqlite:///{tmp_path / 'new.db'}"
    stage.database(new)
    stage.env["IPAM_LEDGER_DB"] = new
    importing = stage.start("import", "ledger.zst")
    half = Database(new)

    def loaded_so_far() -> int:
        with half.read() as tx:
            return int(tx.connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar_one())

    try:
        deadline = time.monotonic() + 60
        while not loaded_so_far() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        importing.kill()
        importing.wait()
    loaded = loaded_so_far()
    half.close()
    assert 0 < loaded < 40_000
    stage.tell("It goes on where it was.")
    assert f"({loaded:,} of them were loaded before)" in stage.run("import", "ledger.zst")
    stage.run("verify")
    assert (
        stage.ask("pool", "show", "bench")["allocated"]
        == stage.ask("pool", "show", "bench", db=sqlite_url)["allocated"]
    )
