"""The past cannot be changed: not by the writer role, not by the owner, not by a superuser, not in replica mode.

Every table that only grows refuses UPDATE, DELETE, TRUNCATE, MERGE and every kind of upsert; and afterwards
everything stands there as it did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy.engine import make_url

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.schema import metadata
from ledger.store import Database
from ledger.store.roles import APPEND_ONLY
from tests.laws import laws
from tests.servers.postgres import AUDITOR, OWNER, SUPERUSER, WRITER, PostgresServer

POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]})

# One row of each table, so that there is something to change. ledger gets its rows from a book.
ROWS = {
    "seal": "(first, count, min_seq, max_seq, seqs, hashes, xid, seq) VALUES (0, 1, 1, 1, '1', 'x', '1', 1)",
    "seal_node": "(level, idx, hash) VALUES (1, 0, 'x')",
    "checkpoint": "(origin, size, root, note, at) VALUES ('o', 1, 'x', 'n', '2026-01-01T00:00:00.000000Z')",
    "fence": "(raised, at, reason, actor) VALUES (false, '2026-01-01T00:00:00.000000Z', 'r', 'a')",
}
COLUMN = {"ledger": "reason", "seal": "seqs", "seal_node": "hash", "checkpoint": "note", "fence": "reason"}
KEY = {"ledger": "seq", "seal": "first", "seal_node": "idx", "checkpoint": "id", "fence": "id"}


def test_every_table_that_only_grows_is_tried_here() -> None:
    assert set(APPEND_ONLY) == set(COLUMN) == {"ledger", *ROWS}
    assert set(metadata.tables) - set(APPEND_ONLY) == {"address", "pool", "sub"}, (
        "a new table: does it only grow?"
    )


def write(url: str) -> None:
    """A little history, and a row in each of the other tables."""
    with closing(Database(url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(POOL)
        claim = Claim(("p",), Owner("ns", "a", None), Attachment("c1", "eth0", "n"))
        book.allocate(claim)
        book.release(claim.attachment)
        book.allocate(claim)
        with database.begin() as tx:
            for table, row in ROWS.items():
                tx.connection.exec_driver_sql(f"INSERT INTO {table} {row}")
        assert laws.broken(database) == []


# PostgreSQL ---------------------------------------------------------------------------------------


@pytest.fixture
def written(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    """The name of a PostgreSQL database with something in every table; nothing of it may change in the test."""
    write(postgres_url)
    name = str(make_url(postgres_url).database)
    with postgres.connect(name) as db:
        before = {table: everything(db, table) for table in APPEND_ONLY}
        assert all(before.values())
        yield name
        assert {table: everything(db, table) for table in APPEND_ONLY} == before
    with closing(Database(postgres_url)) as database:
        assert laws.broken(database) == []


def everything(db: psycopg.Connection[object], table: str) -> list[object]:
    return db.execute(f"SELECT * FROM {table} ORDER BY {KEY[table]}").fetchall()  # type: ignore[arg-type]


def attempts(table: str, major: int) -> list[str]:
    column, key = COLUMN[table], KEY[table]
    changes = [
        f"UPDATE {table} SET {column} = {column}",
        f"UPDATE {table} SET {column} = NULL WHERE {key} = (SELECT min({key}) FROM {table})",
        f"UPDATE {table} SET {column} = {column} WHERE false",
        f"DELETE FROM {table}",
        f"DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})",
        f"TRUNCATE {table}",
        f"TRUNCATE {table} RESTART IDENTITY CASCADE",
        f"WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
        f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({'level, idx' if table == 'seal_node' else key}) "
        f"DO UPDATE SET {column} = 'x'",
    ]
    if table in ("ledger", "checkpoint", "fence"):
        changes[-1] = changes[-1].replace("SELECT *", "OVERRIDING SYSTEM VALUE SELECT *", 1)
    if major >= 15:
        changes.append(
            f"MERGE INTO {table} t USING (SELECT 1) AS one ON true WHEN MATCHED THEN UPDATE SET {column} = 'x'"
        )
        changes.append(f"MERGE INTO {table} t USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE")
    return changes


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("user", [WRITER, OWNER, SUPERUSER, AUDITOR])
def test_on_postgresql(postgres: PostgresServer, written: str, user: str, table: str) -> None:
    """The writer has no such privilege; for those who have, the trigger refuses."""
    expected = (
        psycopg.errors.InsufficientPrivilege
        if user in (WRITER, AUDITOR)
        else psycopg.errors.RestrictViolation
    )
    with postgres.connect(written, user=user) as db:
        for attempt in attempts(table, postgres.programs.major):
            with pytest.raises(expected, match=r"append-only|permission denied|must be owner"):
                db.execute(attempt)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_also_for_a_superuser_in_replica_mode(postgres: PostgresServer, written: str, table: str) -> None:
    with postgres.connect(written, user=SUPERUSER) as db:
        db.execute("SET session_replication_role = replica")
        for attempt in attempts(table, postgres.programs.major):
            with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                db.execute(attempt)  # type: ignore[arg-type]


def test_the_writer_cannot_take_the_guard_away(postgres: PostgresServer, written: str) -> None:
    with postgres.connect(written, user=WRITER) as db:
        for table in APPEND_ONLY:
            for attempt in (
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TRIGGER {table}_append_only ON {table}",
                f"DROP TABLE {table}",
                f"ALTER TABLE {table} RENAME TO old",
                "DROP FUNCTION ledger_is_append_only() CASCADE",
                "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                "SET session_replication_role = replica",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(attempt)  # type: ignore[arg-type]


def test_the_auditor_reads_everything_and_writes_nothing(postgres: PostgresServer, written: str) -> None:
    if postgres.programs.major < 15:  # see docs/postgresql.md
        with postgres.connect(written, user=SUPERUSER) as db:
            db.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with postgres.connect(written, user=AUDITOR) as db:
        for table in [*metadata.tables, "alembic_version"]:
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() is not None
            for attempt in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"SELECT * FROM {table} FOR UPDATE",
                "CREATE TABLE mine (x int)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(attempt)


def test_the_writer_role_changes_nothing_but_the_projections(postgres: PostgresServer, written: str) -> None:
    """What it may do to which table; anything more would be a way into the past."""
    query = """
        SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM information_schema.table_privileges WHERE grantee = 'ipam_ledger_writer' GROUP BY table_name
    """
    with postgres.connect(written) as db:
        rights = dict(db.execute(query).fetchall())
    kept = dict.fromkeys(("address", "pool", "sub"), "DELETE INSERT SELECT UPDATE")
    assert rights == {"alembic_version": "SELECT", **dict.fromkeys(APPEND_ONLY, "INSERT SELECT"), **kept}


# SQLite -------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["as we open it", "as anybody opens it"])
def sqlite(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """An SQLite ledger with something in every table, opened with and without our settings."""
    write(sqlite_url)
    with closing(sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None)) as db:
        if request.param:
            db.execute("PRAGMA recursive_triggers = ON")
            db.execute("PRAGMA foreign_keys = ON")
        before = dump(db)
        yield db
        assert dump(db) == before
    with closing(Database(sqlite_url)) as database:
        assert laws.broken(database) == []


def dump(db: sqlite3.Connection) -> dict[str, list[object]]:
    return {
        table: db.execute(f"SELECT * FROM {table} ORDER BY {KEY[table]}").fetchall() for table in APPEND_ONLY
    }


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_on_sqlite(sqlite: sqlite3.Connection, table: str) -> None:
    column, key = COLUMN[table], KEY[table]
    conflict = "level, idx" if table == "seal_node" else key
    for attempt in (
        f"UPDATE {table} SET {column} = {column}",
        f"UPDATE {table} SET {key} = {key} + 100",
        f"UPDATE OR REPLACE {table} SET {key} = {key}",
        f"UPDATE OR IGNORE {table} SET {column} = 'x'",
        f"DELETE FROM {table}",
        f"DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})",
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        f"REPLACE INTO {table} SELECT * FROM {table}",
        f"INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT ({conflict}) DO UPDATE SET {column} = 'x'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sqlite.execute(attempt)


def test_on_sqlite_an_event_cannot_be_replaced_by_its_stream_either(sqlite: sqlite3.Connection) -> None:
    """A new position, but the address and version of an event that is there: REPLACE would delete that one."""
    columns = "xid, at, pool_id, ip, version, kind, state, reason"
    for stream in ("ip IS NOT NULL", "ip IS NULL"):
        for verb in ("INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                sqlite.execute(
                    f"{verb} INTO ledger ({columns}) SELECT xid, at, pool_id, ip, version, kind, state, 'forged' "
                    f"FROM ledger WHERE {stream}"
                )
