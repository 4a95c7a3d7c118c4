"""The fixtures keep their promises: real servers, really killed, really gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.servers import need
from tests.servers.keeper import Keeper, started
from tests.servers.postgres import AUDITOR, OWNER, WRITER, PgBouncer, PostgresServer, make_folder
from tests.servers.process import DidNotStart, Process


def test_postgres_killed_in_mid_transaction_keeps_what_was_committed(postgres_server: PostgresServer) -> None:
    """kill -9 of every process of the server, then recovery: the committed row is there, the open one is not."""
    name = "postgres"
    with postgres_server.connect(name) as db:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert db.execute(f"SHOW {setting}").fetchone() == ("on",)
        db.execute("CREATE TABLE witness (word text)")
        db.execute("INSERT INTO witness VALUES ('committed')")
    open_transaction = postgres_server.connect(name, autocommit=False)
    open_transaction.execute("INSERT INTO witness VALUES ('never')")
    pid = postgres_server.process.pid

    postgres_server.kill9()
    assert started(pid) is None
    with pytest.raises(psycopg.OperationalError):
        open_transaction.execute("SELECT 1")
    open_transaction.close()
    with pytest.raises(psycopg.OperationalError):
        postgres_server.connect(name)

    postgres_server.start()
    with postgres_server.connect(name) as db:
        assert db.execute("SELECT word FROM witness").fetchall() == [("committed",)]
    assert (
        "automatic recovery in progress" in postgres_server.process.output()
        or postgres_server.process.pid != pid
    )


def test_postgres_restarts_at_the_same_place(postgres_server: PostgresServer) -> None:
    """A client's URL stays good over a restart."""
    engine = create_engine(postgres_server.url("ledger"))
    with engine.connect() as db:
        first = db.scalar(text("SELECT pg_postmaster_start_time()"))
    engine.dispose()
    postgres_server.restart()
    with engine.connect() as db:
        assert db.scalar(text("SELECT pg_postmaster_start_time()")) > first
    engine.dispose()


def test_a_fresh_database_belongs_to_no_superuser(empty_postgres_url: str) -> None:
    engine = create_engine(empty_postgres_url)
    with engine.connect() as db:
        assert db.scalar(text("SELECT current_user")) == OWNER
        assert db.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")) is False
    engine.dispose()


def test_the_writer_and_the_auditor_see_the_owners_database(writer_url: str, auditor_url: str) -> None:
    seen = []
    for url in (writer_url, auditor_url):
        engine = create_engine(url)
        with engine.connect() as db:
            seen += db.execute(text("SELECT current_user, current_database(), count(*) FROM ledger")).all()
        engine.dispose()
    database = make_url(writer_url).database
    assert seen == [(WRITER, database, 0), (AUDITOR, database, 0)]


def test_both_ways_to_a_server(postgres: PostgresServer) -> None:
    for url in (postgres.url(), postgres.url(tcp=True)):
        engine = create_engine(url)
        with engine.connect() as db:
            assert db.scalar(text("SELECT 1")) == 1
        engine.dispose()


@pytest.mark.parametrize("again", [1, 2])
def test_a_fresh_database_is_migrated_and_holds_nothing(db_url: str, again: int) -> None:
    """Twice, since the first test of two writes: nothing may be seen of it by the second."""
    engine = create_engine(db_url)
    with engine.begin() as db:
        assert db.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        db.execute(text("CREATE TABLE witness (word text)"))
    engine.dispose()


def test_pgbouncer_pools_by_transaction(pgbouncer: PgBouncer, empty_postgres_url: str) -> None:
    """A session's setting does not stay with its client: what our code must do without."""
    database = str(make_url(empty_postgres_url).database)
    engine = create_engine(pgbouncer.url(database))
    with engine.connect() as db:
        assert db.scalar(text("SELECT current_database()")) == database
    engine.dispose()
    with psycopg.connect(
        host=str(pgbouncer.folder), port=pgbouncer.port, dbname="pgbouncer", user="postgres", autocommit=True
    ) as admin:
        shown = dict(row[:2] for row in admin.execute("SHOW CONFIG").fetchall())  # type: ignore[misc]
    assert shown["pool_mode"] == "transaction"


def test_a_program_that_does_not_start_says_why(tmp_path: Path, keeper: Keeper) -> None:
    process = Process(["sh", "-c", "echo no such flag; exit 3"], log=tmp_path / "log", keeper=keeper)
    with pytest.raises(DidNotStart, match=r"ended with 3:\nno such flag"):
        process.start(lambda: False)


def test_what_a_killed_run_left_is_undone() -> None:
    """The run itself dies by kill -9: its processes and folders go all the same."""
    script = """
import sys, time
from pathlib import Path
from tests.servers.keeper import Keeper
from tests.servers.postgres import make_folder
from tests.servers.process import Process
keeper = Keeper()
folder = make_folder(keeper, "killed")
process = Process(["sleep", "600"], log=folder / "log", keeper=keeper)
process.start(lambda: True)
keeper.run("touch", str(folder) + ".undone")
print(process.pid, folder, flush=True)
time.sleep(600)
"""
    repository = Path(__file__).parents[2]
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=repository)
    assert run.stdout is not None
    pid, folder = run.stdout.readline().split()
    witness = Path(folder + ".undone")
    assert started(int(pid)) is not None

    os.kill(run.pid, signal.SIGKILL)
    run.communicate()

    deadline = time.monotonic() + 60
    while (
        started(int(pid)) or Path(folder).exists() or not witness.exists()
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started(int(pid)) is None
    assert not Path(folder).exists()
    witness.unlink()


def test_a_folder_for_a_server_is_closed_to_others(keeper: Keeper) -> None:
    assert make_folder(keeper, "closed").stat().st_mode & 0o077 == 0


def test_a_missing_part_is_a_skip_with_a_cure_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(need.CI, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^frobnicator is missing: apt-get install frob$"):
        need.program("frobnicator", "apt-get install frob")
    monkeypatch.setenv(need.CI, "1")
    with pytest.raises(pytest.fail.Exception, match="nothing may be missing"):
        need.program("frobnicator", "apt-get install frob")
