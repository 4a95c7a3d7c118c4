"""When the database is away, busy, read-only or not ours, it is said in our words, and what was asked may be asked again."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import (
    DatabaseAway,
    InvalidInput,
    LedgerError,
    LockTimeout,
    SchemaMismatch,
    TryAgain,
    UnknownPool,
)
from ledger.events import Attachment, Owner
from ledger.settings import BookSettings
from ledger.store import Database, database
from tests.laws import laws
from tests.servers import need
from tests.servers.keeper import Keeper
from tests.servers.postgres import HOW, SETTINGS, PostgresServer, free_port, make_folder, unprivileged
from tests.servers.process import Process

POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}], "pickStrategy": "Lowest"})


def claim(name: str) -> Claim:
    return Claim(("p",), Owner("ns", name, None), Attachment(f"c-{name}", "eth0", "n"))


def every_method(book: Book) -> dict[str, Callable[[], object]]:
    attachment = claim("a").attachment
    return {
        "allocate": lambda: book.allocate(claim("a")),
        "reclaim_for": lambda: book.reclaim_for(claim("a")),
        "release": lambda: book.release(attachment),
        "release_ip": lambda: book.release_ip("10.9.0.1", pool="p", reason="r"),
        "held_by": lambda: book.held_by(attachment),
        "collect": lambda: book.collect(network="n", node="n1", keep=()),
        "sweep": book.sweep,
        "apply_pool": lambda: book.apply_pool(POOL),
        "delete_pool": lambda: book.delete_pool("p"),
        "pool": lambda: book.pool("p"),
        "pools": book.pools,
        "adopt": lambda: book.adopt(claim("a"), "10.9.0.1"),
        "ready": book.ready,
    }


def said(book: Book) -> dict[str, str]:
    out = {}
    for name, ask in every_method(book).items():
        with pytest.raises(LedgerError) as refused:
            ask()
        out[name] = f"{type(refused.value).__name__}: {refused.value}"
    return out


# Not there at all ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://nobody@127.0.0.1:1/ledger",
        "postgresql+psycopg://nobody@/ledger?host=/nowhere",
        "postgresql://nobody@no-such-host.invalid/ledger",
        "sqlite:////proc/no/such/folder/ledger.db",
        "sqlite:////dev/null/ledger.db",
        "sqlite:////",
    ],
)
def test_a_database_that_cannot_be_had_is_away_for_every_method(url: str) -> None:
    with closing(Database(url)) as nowhere:
        for name, words in said(Book(nowhere, actor="test")).items():
            assert words.startswith("DatabaseAway: "), (name, words)
            assert "nobody" in words or "sqlite" in words, "names the database"
        (outcome,) = Book(nowhere, actor="test").allocate_many([claim("a")])
        assert isinstance(outcome, DatabaseAway)


def test_a_wrong_password_a_missing_database_and_too_many_connections_are_away(
    postgres: PostgresServer, postgres_url: str
) -> None:
    missing = str(make_url(postgres_url).set(database="missing"))
    stranger = str(make_url(postgres_url).set(username="stranger"))
    for url, words in ((missing, "does not exist"), (stranger, "stranger")):
        with closing(Database(url)) as away, pytest.raises(DatabaseAway, match=words):
            Book(away, actor="test").allocate(claim("a"))
    name = make_url(postgres_url).database
    with postgres.connect() as admin:
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        with (
            closing(Database(postgres_url)) as full,
            pytest.raises(DatabaseAway, match="too many connections"),
        ):
            Book(full, actor="test").allocate(claim("a"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:hush@127.0.0.1:1/ledger",
        "postgresql+psycopg://u:hush/hush@127.0.0.1:1/ledger",
        "postgresql+psycopg://:hush@127.0.0.1:1/ledger",
        "postgresql+psycopg://127.0.0.1:1/ledger?user=u&password=hush",
        "postgresql+psycopg://127.0.0.1:1/ledger?user=u&password=no&password=hush",
        "postgresql+psycopg://127.0.0.1:1/ledger?user=u&pass%77ord=hush&sslpassword=hush",
        "postgresql+psycopg:///ledger?host=127.0.0.1&port=1&password=a@hush",
    ],
)
def test_a_password_is_never_repeated(url: str) -> None:
    with closing(Database(url)) as away:
        assert "127.0.0.1" in away.label
        for words in said(Book(away, actor="test")).values():
            assert "hush" not in words


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:hush/ledger",
        "postgresql+psycopg:///u:hush@h/ledger",
        "postgresql+psycopg://u/x:hush@h/ledger",
        "postgresql+psycopg://u?password=hush@h/ledger",
        "postgresql+psycopg://u?password=a@hush/ledger",
        "postgresql+psycopg://h:5432/ledger?password=a@hush",
        "postgresql+psycopg://u:a?x@hush@h/ledger",
        "postgresql+psycopg://u:a@h:bad/ledger?password=hush",
        "postgresql+psycopg://h/ledger?password=hush&port=bad",
        "postgresql+psycopg://h/ledger?PASSWORD=hush",
        "postgresql+psycopg://h/ledger?password=hush&plugin=none",
        "postgresql+psycopg://h/ledger?conninfo=password%3Dhush",
        "mysql://h/ledger?password=hush",
        "mysql://u:a@hush@h/ledger",
        "sqlite:///ledger.db?password=hush",
        "sqlite:///file:ledger.db?password=hush",
        "sqlite://u:hush@h/ledger.db",
        "sqlite://u:a@hush@h/ledger.db",
        "host=h password=hush",
        "u:hush@h",
    ],
)
def test_nor_is_it_where_the_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="database URL") as refused:
        Database(url)
    assert "hush" not in f"{refused.value} {refused.value.facts()}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "mysql://h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=ro&uri=true",
        "\0",
    ],
)
def test_what_is_no_url_of_a_ledger_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInput, match="sqlite:///path"):
        Database(url)


# There, but not ours ------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, and somebody's only copy\n" * 200)
    before = file.read_bytes()
    with closing(Database(f"sqlite:///{file}")) as other:
        for name, words in said(Book(other, actor="test")).items():
            assert words.startswith("DatabaseAway: "), (name, words)
    assert file.read_bytes() == before


def test_a_database_without_our_tables_is_told_apart_from_one_that_is_away(
    empty_sqlite_url: str, empty_postgres_url: str
) -> None:
    for url in (empty_sqlite_url, empty_postgres_url):
        with closing(Database(url)) as empty, pytest.raises(SchemaMismatch, match="ipam-ledger db upgrade"):
            Book(empty, actor="test").allocate(claim("a"))


def test_what_the_driver_refuses_is_no_absence_of_the_server(postgres_url: str) -> None:
    with (
        closing(Database(postgres_url)) as there,
        pytest.raises(ProgrammingError, match="placeholder"),
        there.begin() as tx,
    ):
        tx.connection.exec_driver_sql("SELECT %s", (1, 2))


def test_what_the_caller_s_own_files_refuse_is_not_the_database_s(db_url: str) -> None:
    with closing(Database(db_url)) as there:
        for transaction in (there.read, there.begin, there.quick):
            with pytest.raises(FileNotFoundError), transaction():
                Path("/no/such/file").read_bytes()


def test_a_user_without_privileges_is_told_so(auditor_url: str) -> None:
    with closing(Database(auditor_url)) as reader:
        book = Book(reader, actor="test")
        assert book.pools() == []
        with pytest.raises(DatabaseAway, match="permission denied"):
            book.apply_pool(POOL)


# There, but read-only -----------------------------------------------------------------------------


@pytest.fixture
def standby(postgres: PostgresServer, postgres_url: str, keeper: Keeper) -> Iterator[str]:
    """``postgres_url``'s database on a streaming standby, which copied the whole cluster just now."""
    beside = (postgres.programs.folder / "initdb").resolve().parent / "pg_basebackup"
    copy = str(beside) if beside.exists() else need.program("pg_basebackup", HOW)
    folder, port = make_folder(keeper, "standby"), free_port()
    user = unprivileged()
    subprocess.run(
        [copy, "-h", postgres.folder, "-p", str(postgres.port), "-U", "postgres",
         "-D", folder / "data", "-R", "--checkpoint=fast", "--no-sync"],
        check=True, cwd="/", user=user, group=user, extra_groups=[] if user else None,
    )  # fmt: skip
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    argv = [
        postgres.programs.folder / "postgres",
        "-D",
        folder / "data",
        "-p",
        port,
        "-k",
        folder,
        "-c",
        "fsync=off",
        *settings,
    ]
    process = Process(
        [str(each) for each in argv], log=folder / "log", keeper=keeper, user=user, stop_signal=signal.SIGINT
    )
    process.start(lambda: "ready to accept read-only connections" in process.output())
    name = make_url(postgres_url).database
    yield f"postgresql+psycopg://ledger_owner@/{name}?host={folder}&port={port}"
    process.kill9()


def test_a_standby_answers_questions_and_takes_no_writes(postgres_url: str, standby: str) -> None:
    with closing(Database(postgres_url)) as primary:
        Book(primary, actor="test").apply_pool(POOL)
        Book(primary, actor="test").allocate(claim("a"))
    with closing(Database(standby)) as reader:
        book = Book(reader, actor="test")
        book.ready()
        while True:  # until it was streamed there
            with contextlib.suppress(UnknownPool):
                if book.pool("p").allocated:
                    break
        assert book.pool("p").allocated == 1
        assert [each.ip for each in book.held_by(claim("a").attachment)] == ["10.9.0.1"]
        for ask in (
            lambda: book.allocate(claim("b")),
            lambda: book.release(claim("a").attachment),
            book.sweep,
        ):
            for _ in range(2):
                with pytest.raises(DatabaseAway, match="standby"):
                    ask()


# Busy ---------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 300)


def test_an_sqlite_file_that_another_process_keeps_locked(
    impatient: None, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Database(sqlite_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("a"))
        begun: list[bool] = []
        begin = ours.begin
        monkeypatch.setattr(ours, "begin", lambda: begun.append(True) or begin())
        with closing(sqlite3.connect(str(ours.url.database))) as other:
            other.execute("BEGIN IMMEDIATE")
            for ask in (
                lambda: book.allocate(claim("b")),
                lambda: book.release(claim("a").attachment),
                book.sweep,
            ):
                begun.clear()
                before = time.monotonic()
                with pytest.raises(LockTimeout, match="locked by another process"):
                    ask()
                assert time.monotonic() - before > 0.2, "waits its time"
                assert len(begun) == 1, "and once"
            assert book.pool("p").allocated == 1, "readers never wait"
            outcomes = book.allocate_many([claim("b"), claim("c")])
            assert [type(each) for each in outcomes] == [LockTimeout, LockTimeout]
            other.rollback()
        assert book.allocate(claim("b"))[0].ip == "10.9.0.2"
        assert laws.broken(ours) == []


def test_one_row_that_somebody_keeps_locked_stops_one_claim_and_not_its_batch(
    impatient: None, postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(Database(postgres_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("stuck"))
        with postgres.connect(str(ours.url.database), autocommit=False) as other:
            other.execute("SELECT 1 FROM address WHERE ip = '10.9.0.1' FOR UPDATE")
            again = Claim(("p",), Owner("ns", "stuck", None), Attachment("relaunched", "eth0", "n"))
            outcomes = book.allocate_many([claim("x"), again, claim("y")])
            words = [type(each).__name__ if isinstance(each, Exception) else each[0].ip for each in outcomes]
            assert words == ["10.9.0.2", "LockTimeout", "10.9.0.3"]
            other.rollback()
        assert book.allocate(again)[0].ip == "10.9.0.1"
        assert laws.broken(ours) == []


def test_a_table_that_somebody_keeps_locked_stops_the_batch_soon(
    impatient: None, postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(Database(postgres_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        with postgres.connect(str(ours.url.database), autocommit=False) as other:
            other.execute("LOCK TABLE address IN ACCESS EXCLUSIVE MODE")
            before = time.monotonic()
            outcomes = book.allocate_many([claim(f"p{n}") for n in range(50)])
            assert time.monotonic() - before < 10, "not one time-out for each claim: that would be 15 seconds"
            assert {type(each) for each in outcomes} == {LockTimeout}
            other.rollback()
        assert laws.broken(ours) == []


def test_behind_a_pooler_nobody_waits_for_ever_either(
    impatient: None, postgres: PostgresServer, pgbouncer_url: str
) -> None:
    with closing(Database(pgbouncer_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("a"))
        with postgres.connect(str(ours.url.database), autocommit=False) as other:
            other.execute("SELECT 1 FROM address WHERE ip = '10.9.0.1' FOR UPDATE")
            with pytest.raises(LockTimeout):
                book.release(claim("a").attachment)
            other.rollback()
        assert [event.ip for event in book.release(claim("a").attachment)] == ["10.9.0.1"]
        assert laws.broken(ours) == []


# Lost and back ------------------------------------------------------------------------------------


def test_connections_that_died_are_replaced_without_an_error(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(Database(postgres_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("a"))
        methods = every_method(book)
        del methods["delete_pool"], methods["reclaim_for"], methods["adopt"], methods["release_ip"]
        for name, ask in methods.items():
            kill_connections(postgres, postgres_url)
            ask()
            assert name
        assert laws.broken(ours) == []


def test_who_has_one_attempt_only_is_told_to_try_again(postgres: PostgresServer, postgres_url: str) -> None:
    with closing(Database(postgres_url)) as ours:
        book = Book(ours, actor="test", settings=BookSettings(attempts=1))
        book.apply_pool(POOL)
        kill_connections(postgres, postgres_url)
        with pytest.raises(TryAgain):
            book.pool("p")
        assert book.pool("p").capacity == 254


def kill_connections(postgres: PostgresServer, url: str) -> None:
    with postgres.connect() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [make_url(url).database],
        )


def test_connections_that_die_again_and_again_lose_nothing_that_was_answered(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with closing(Database(postgres_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        ended = threading.Event()
        answered: dict[int, str] = {}

        def disturb() -> None:
            pause, before = 0.03, 0
            while not ended.wait(pause):
                # Where nothing was answered in between, the machine is too busy for such haste
                pause, before = 0.03 if len(answered) > before else pause * 1.5, len(answered)
                kill_connections(postgres, postgres_url)

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for number in range(150):
                while True:
                    try:
                        answered[number] = book.allocate(claim(f"p{number}"))[0].ip
                        break
                    except TryAgain:
                        continue
        finally:
            ended.set()
            thread.join()
        assert len(set(answered.values())) == 150
        assert {n: book.held_by(claim(f"p{n}").attachment)[0].ip for n in answered} == answered
        assert laws.broken(ours) == []


def test_a_file_that_was_removed_under_a_running_book(sqlite_url: str) -> None:
    """The old file lives on while it is open; whoever opens it anew is told that this is not a ledger of ours."""
    with closing(Database(sqlite_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        folder = Path(str(ours.url.database)).parent
        for file in folder.glob("ledger.db*"):
            file.unlink()
        with closing(Database(sqlite_url)) as anew, pytest.raises(SchemaMismatch):
            Book(anew, actor="test").allocate(claim("a"))


def test_a_full_disk_is_away_and_nothing_half_done_remains(sqlite_url: str) -> None:
    """max_page_count makes SQLite say what it says on a full disk (SQLITE_FULL)."""
    with closing(Database(sqlite_url)) as ours:
        book = Book(ours, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("before"))
        with ours.begin() as tx:
            pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()
        with pytest.raises(DatabaseAway, match="full"):
            for number in range(253):
                book.allocate(claim(f"p{number}"))
        assert laws.broken(ours) == []
        with ours.begin() as tx:
            tx.connection.exec_driver_sql("PRAGMA max_page_count = 1000000").close()
        book.allocate(claim("after"))
        assert laws.broken(ours) == []
