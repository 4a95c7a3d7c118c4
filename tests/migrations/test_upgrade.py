"""Up, and down, and up again; twice is once; two at once are one; what fails half-way has changed nothing."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy.engine import make_url

from ledger import migrate, pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import LedgerError, LockTimeout, SchemaMismatch
from ledger.events import Attachment, Owner
from ledger.schema import HEAD, UPGRADE_LOCK
from ledger.store import Database, database
from migrations.versions import v0002_seals
from tests.laws import laws
from tests.migrations import catalog
from tests.servers.postgres import PostgresServer

POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]})
CLAIM = Claim(("p",), Owner("ns", "a", None), Attachment("c1", "eth0", "n"))


def test_up_and_down_and_up_again(empty_db_url: str) -> None:
    with closing(Database(empty_db_url)) as fresh:
        assert migrate.upgrade(fresh) == migrate.Upgrade(None, HEAD)
        first = catalog.of(fresh)
        for revision in ("0001", "base"):
            migrate.downgrade(fresh, revision)
        assert catalog.of(fresh) == {}
        assert fresh.revision() is None
        assert migrate.upgrade(fresh, "0001").after == "0001"
        assert migrate.upgrade(fresh) == migrate.Upgrade("0001", HEAD)
        assert catalog.of(fresh) == first


def test_a_server_that_is_too_old_is_named(empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST", 99)
    with closing(Database(empty_postgres_url)) as fresh:
        with pytest.raises(SchemaMismatch, match=r"is on PostgreSQL \d\d; ipam-ledger needs 99 or newer"):
            migrate.upgrade(fresh)
        assert catalog.of(fresh) == {}


def test_twice_is_once(db_url: str) -> None:
    with closing(Database(db_url)) as migrated:
        before = catalog.of(migrated)
        Book(migrated, actor="test").apply_pool(POOL)
        assert migrate.upgrade(migrated) == migrate.Upgrade(HEAD, HEAD)
        assert catalog.of(migrated) == before
        assert Book(migrated, actor="test").pool("p").capacity == 254


def test_an_upgrade_keeps_what_is_there(empty_db_url: str) -> None:
    """From each older schema, with history in it."""
    with closing(Database(empty_db_url)) as old:
        migrate.upgrade(old, "0001")
        with old.begin() as tx:
            tx.connection.exec_driver_sql(
                "INSERT INTO pool (name, address_space, cooldown_seconds, version, live, spec) "
                "VALUES ('p', 'default', 0, 1, true, '{\"ipPoolSubs\": [{\"range\": \"10.9.0.0/24\"}]}')"
            )
            tx.connection.exec_driver_sql(
                "INSERT INTO ledger (xid, at, pool_id, version, kind, spec) "
                "SELECT '1', '2026-01-01T00:00:00.000000Z', id, version, 'PoolCreated', spec FROM pool"
            )
        migrate.upgrade(old)
        book = Book(old, actor="test")
        assert book.pool("p").version == 1
        book.apply_pool(pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/25"}]}))
        book.allocate(CLAIM)
        assert laws.broken(old) == []


def test_what_holds_events_is_not_dropped(db_url: str) -> None:
    with closing(Database(db_url)) as full:
        Book(full, actor="test").apply_pool(POOL)
        before = catalog.of(full)
        with pytest.raises(LedgerError, match="holds events"):
            migrate.downgrade(full, "base")
        assert catalog.of(full) == before, "not even the migrations above it"
        assert full.revision() == HEAD
        Book(full, actor="test").allocate(CLAIM)


@pytest.mark.parametrize(
    "row",
    [
        "fence (raised, at, reason, actor) VALUES (true, '2026-01-01T00:00:00.000000Z', 'restored', 'me')",
        "checkpoint (origin, size, root, note, at) VALUES ('o', 1, 'x', 'n', '2026-01-01T00:00:00.000000Z')",
        "seal (first, count, min_seq, max_seq, seqs, hashes, xid, seq) VALUES (0, 1, 1, 1, '1', 'x', '1', 1)",
        "seal_node (level, idx, hash) VALUES (1, 0, 'x')",
    ],
)
def test_what_holds_seals_or_a_fence_is_not_dropped(db_url: str, row: str) -> None:
    with closing(Database(db_url)) as sealed:
        with sealed.begin() as tx:
            tx.connection.exec_driver_sql(f"INSERT INTO {row}")
        with pytest.raises(LedgerError, match="not dropped"):
            migrate.downgrade(sealed, "0001")
        assert sealed.revision() == HEAD


def test_what_fails_half_way_has_changed_nothing(empty_db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = v0002_seals._sqlite_guard if empty_db_url.startswith("sqlite") else v0002_seals._guard

    def broken(table: str, *more: str) -> list[str]:
        if table == "checkpoint":
            raise RuntimeError("the power went away")
        return real(table, *more)

    with closing(Database(empty_db_url)) as fresh:
        with monkeypatch.context() as patch:
            _break(patch, broken)
            with pytest.raises(RuntimeError, match="the power"):
                migrate.upgrade(fresh)
        assert catalog.of(fresh) == {}
        assert fresh.revision() is None
        migrate.upgrade(fresh)
        assert fresh.revision() == HEAD


def _break(patch: pytest.MonkeyPatch, broken: object) -> None:
    """Alembic loads a migration's file anew, as a module of its own."""
    from alembic.script import ScriptDirectory

    real = ScriptDirectory.from_config

    def from_config(config):  # type: ignore[no-untyped-def]
        scripts = real(config)
        module = scripts.get_revision("0002").module
        patch.setattr(module, "_guard", broken)
        patch.setattr(module, "_sqlite_guard", broken)
        return scripts

    patch.setattr(ScriptDirectory, "from_config", staticmethod(from_config))


# At once ------------------------------------------------------------------------------------------


def test_several_at_once_are_one(empty_db_url: str) -> None:
    together = Barrier(4)

    def upgrade() -> migrate.Upgrade:
        with closing(Database(empty_db_url)) as fresh:
            together.wait()
            return migrate.upgrade(fresh)

    with ThreadPoolExecutor(4) as threads:
        done = [each.result() for each in [threads.submit(upgrade) for _ in range(4)]]
    assert {each.after for each in done} == {HEAD}
    assert {each.roles_sql for each in done} == {()}
    with closing(Database(empty_db_url)) as fresh:
        assert fresh.revision() == HEAD
        Book(fresh, actor="test").apply_pool(POOL)
        assert laws.broken(fresh) == []


def test_several_databases_of_one_server_at_once(postgres: PostgresServer) -> None:
    """The roles belong to the server, not to a database."""
    names = [f"upgraded{n}" for n in range(3)]
    urls = [postgres.create_database(name) for name in names]
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(_upgrade, urls))
        for url in urls:
            with closing(Database(url)) as each:
                assert each.revision() == HEAD
    finally:
        for name in names:
            postgres.drop_database(name)


def _upgrade(url: str) -> None:
    with closing(Database(url)) as fresh:
        migrate.upgrade(fresh)


FIRST_USE = """
import sys, time
from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.store import Database
from ledger import pools
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
book = Book(database, actor="test")
book.ready()
book.apply_pool(pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]}))
print(book.allocate(Claim(("p",), Owner("ns", sys.argv[2], None), Attachment(sys.argv[2])))[0].ip, flush=True)
database.close()
"""


def test_an_sqlite_file_that_several_processes_use_first_at_once(empty_sqlite_url: str) -> None:
    url = make_url(empty_sqlite_url)
    file = Path(str(url.database)).parent / "new" / "folder" / "ledger.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_USE, f"sqlite:///{file}", f"pod-{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(6)
    ]  # fmt: skip
    for each in started:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60) for each in started]
    assert [each.returncode for each in started] == [0] * 6, said
    assert len({out for out, _ in said}) == 6
    with closing(Database(f"sqlite:///{file}")) as made:
        assert made.revision() == HEAD
        assert Book(made, actor="test").pool("p").allocated == 6
        assert laws.broken(made) == []
        with made.read() as tx:
            assert tx.connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_an_upgrade_does_not_wait_for_ever_behind_a_transaction(
    postgres: PostgresServer, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 300)
    with closing(Database(empty_postgres_url)) as fresh:
        with postgres.connect(str(fresh.url.database), autocommit=False) as other:
            other.execute(f"SELECT pg_advisory_lock({UPGRADE_LOCK})")
            with pytest.raises(LockTimeout):
                migrate.upgrade(fresh)
        assert fresh.revision() is None
        migrate.upgrade(fresh)


# Behind and ahead ---------------------------------------------------------------------------------


def test_a_database_that_is_behind_or_ahead_is_named_with_what_mends_it(empty_postgres_url: str) -> None:
    with closing(Database(empty_postgres_url)) as other:
        with pytest.raises(SchemaMismatch, match=r"has no ledger yet; run `ipam-ledger db upgrade`"):
            other.require_head()
        migrate.upgrade(other, "0001")
        with pytest.raises(
            SchemaMismatch, match=rf"at schema 0001, this program needs {HEAD}; run `ipam-ledger db upgrade`"
        ):
            other.require_head()
        migrate.upgrade(other)
        other.require_head()
        with other.begin() as tx:
            tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        for ask in (other.require_head, lambda: migrate.upgrade(other)):
            with pytest.raises(
                SchemaMismatch, match=r"at schema 9999, newer than this program's .*upgrade ipam-ledger"
            ):
                ask()


def test_an_embedded_ledger_that_is_behind_is_brought_up_and_one_that_is_ahead_is_left_alone(
    empty_sqlite_url: str,
) -> None:
    with closing(Database(empty_sqlite_url)) as other:
        migrate.upgrade(other, "0001")
        other.require_head()
        assert other.revision() == HEAD
        with other.begin() as tx:
            tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaMismatch, match="newer"):
            other.require_head()
        assert other.revision() == "9999"


def test_a_database_whose_version_table_is_empty_has_no_ledger(empty_postgres_url: str) -> None:
    with closing(Database(empty_postgres_url)) as other:
        with other.begin() as tx:
            tx.connection.exec_driver_sql("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        assert other.revision() is None
        with pytest.raises(SchemaMismatch, match="has no ledger yet"):
            other.require_head()
