"""A database of either dialect: opening it, its transactions, and its errors in our words."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import ConnectionPoolEntry

from ledger.errors import (
    DatabaseAway,
    InvalidInput,
    InvalidRequest,
    LedgerCorrupt,
    LockTimeout,
    SchemaMismatch,
    TryAgain,
)
from ledger.schema import HEAD
from ledger.store import file
from ledger.store.url import HINT, label_of, parse_url, strange_option

LOCK_TIMEOUT_MS = 5_000
"""How long a statement waits for somebody else's lock before error 11. Far above any honest transaction here."""

CONNECT_TIMEOUT_S = 5


class FileReplaced(OSError):
    """Another file has taken the place of the open one: what is written to that is lost."""

    connection_invalidated = True


class Conflict(TryAgain):
    """Somebody else's transaction got there first; decide anew. The book does that itself."""


_SPOKEN = {"client_encoding": "UTF8", "DateStyle": "ISO", "standard_conforming_strings": "on"}
"""How PostgreSQL is spoken with, whatever a database, a role or the environment says. A server tells these when it is connected
to, so asking costs nothing."""

# PostgreSQL's SQLSTATEs, by what they mean to a caller.
_BUSY = "55P03"  # a lock not had in time
_ENDED = "57014"  # a statement cancelled
_RACE = {
    "40001",
    "40P01",
    "23505",
}  # serialization failure, deadlock, unique violation (of named keys, see schema)
_OTHER_SCHEMA = {"42P01", "42703"}  # no such table, no such column
# Connection lost, sent away (also: starting up), out of resources, not let in, no such database, I/O error
_AWAY = ("08", "57", "53", "28", "3D", "58")

# SQLite's result codes, by their beginnings (https://sqlite.org/rescode.html).
_FILE_AWAY = (
    "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_PERM",
    "SQLITE_AUTH", "SQLITE_NOLFS",
)  # fmt: skip


class Database:
    """One ledger database. Safe to share between threads; open it once per process.

    ``url`` is an SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://…``. Raises InvalidInput for any
    other. Opening connects to nothing; see :meth:`require_head`.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = parse_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        # SQLite has one writer. Threads of one process queue here, in order, rather than in its busy handler, which
        # sleeps longer and longer; other processes meet there.
        self._one_writer = threading.Lock() if self.sqlite else nullcontext()
        self._seen: dict[str, bool] = {}
        try:
            if self.sqlite:
                self.engine = self._autocommit = _sqlite_engine(self.url, self._path)
            else:
                self.engine = _postgresql_engine(self.url, pool_size, self._seen)
                # An engine of its own: switching a pooled connection to autocommit and back costs four round trips.
                self._autocommit = _postgresql_engine(self.url, pool_size, self._seen, autocommit=True)
                if why := strange_option(self.url):
                    raise InvalidInput("database URL", self.label, f"cannot be used: {why}")
        except exc.ArgumentError:  # a port in the query that is no number, a plugin, …
            raise InvalidInput("database URL", self.label, f"cannot be used; {HINT}") from None

    @property
    def label(self) -> str:
        """The URL without what may be a password, for messages."""
        return label_of(self.url)

    @property
    def missing(self) -> bool:
        """Whether it is an SQLite file that is not there."""
        return self.sqlite and not self._path.exists()

    @property
    def _path(self) -> Path:
        return Path(str(self.url.database)).absolute()

    def close(self) -> None:
        self.engine.dispose()
        self._autocommit.dispose()

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """A write transaction. SQLite: the one writer (``BEGIN IMMEDIATE``). Commits at the end, rolls back on any error.

        Raises DatabaseAway, LockTimeout, Conflict.
        """
        with self._translated(), self._one_writer, self._opened(self.engine.begin) as connection:
            if connection.info.get("alone"):
                raise self._read_only("it can only be read")
            if self._pooler:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            yield Tx(connection, self.sqlite)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A read-only transaction that sees one moment and blocks no writer (SQLite: a WAL snapshot)."""
        with self._translated(), self._opened(self.engine.connect) as connection:
            if self.sqlite:
                connection.info["deferred"] = True
            else:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            try:
                with connection.begin():
                    yield Tx(connection, self.sqlite)
            finally:
                connection.info.pop("deferred", None)
                if (alone := connection.info.get("alone")) and alone != file.stand(self._path):
                    raise DatabaseAway(f"{self.label} was written while it was read; ask again")

    @contextmanager
    def quick(self, *, together: bool = False) -> Iterator[Tx]:
        """For the quick forms. PostgreSQL: each statement its own transaction, unless ``together``. SQLite: as ``begin``."""
        if self.sqlite or self._pooler or together:
            with self.begin() as tx:
                yield tx
            return
        with self._translated(), self._autocommit.connect() as connection:
            yield Tx(connection, self.sqlite)

    @property
    def _pooler(self) -> bool:
        """Whether a pooler stands in between, as far as is known: then only a transaction can carry a time-out."""
        return self._seen.get("pooler", False)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise self._in_our_words(error, error.orig) from error
        except sqlite3.Error as error:  # of the quick forms, which go to the driver
            raise self._in_our_words(error, error) from error
        except exc.TimeoutError as error:
            raise LockTimeout(f"no free connection to {self.label} in time") from error
        except UnicodeEncodeError as error:
            raise InvalidRequest("text", ascii(error.object), "cannot be stored") from error
        except Exception as error:  # perhaps of psycopg, which bulk work goes to: known by its code, for who uses SQLite has none
            if self.sqlite or getattr(error, "sqlstate", None) is None:
                raise
            raise self._in_our_words(error, error) from error

    @contextmanager
    def _opened(self, opening: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """An SQLite file may be away as any file is. Only as it is opened: a later OSError is of what the caller does."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(opening())
            except FileReplaced as error:
                self.engine.dispose()  # the others have the old file open as well
                raise DatabaseAway(f"{self.label} is another file than before: it was replaced") from error
            except OSError as error:
                raise DatabaseAway(f"{self.label} cannot be used: {error}") from error
            yield connection

    def _in_our_words(self, error: Exception, cause: BaseException | None) -> Exception:
        if isinstance(cause, sqlite3.Error):
            name = getattr(cause, "sqlite_errorname", "")
            if name.startswith(file.BUSY):
                return LockTimeout(f"{self.label} is locked by another process")
            if name.startswith(file.READONLY):
                return self._read_only(str(cause))
            if name.startswith(_FILE_AWAY):
                return DatabaseAway(f"{self.label} cannot be used: {cause}")
            if name == "SQLITE_ERROR":  # the statement does not fit: all ours fit our own schema
                return self._other_schema(cause)
            if not name and isinstance(cause, sqlite3.OperationalError):  # of its Python side: no UTF-8
                return LedgerCorrupt(f"a stored text cannot be read ({cause}); run `ipam-ledger verify`")
            return error
        sqlstate = getattr(cause, "sqlstate", None)
        if sqlstate in _RACE:
            return Conflict(f"somebody else's transaction got there first; try again ({_said(cause)})")
        if sqlstate == _BUSY:
            return LockTimeout(f"a lock in {self.label} was not had within {LOCK_TIMEOUT_MS} ms")
        if sqlstate == _ENDED:
            return LockTimeout(
                f"{self.label} ended a statement: {_said(cause)} (has this database or user a statement_timeout?)"
            )
        if sqlstate == "25006":
            return DatabaseAway(f"{self.label} is read-only (a standby?); writes go to the primary")
        if sqlstate == "42501":
            return DatabaseAway(
                f"{self.label} does not let this user: {_said(cause)} (`ipam-ledger db check`)"
            )
        if sqlstate in _OTHER_SCHEMA:
            return self._other_schema(cause)
        if isinstance(error, exc.DataError):  # for one: a NUL, which psycopg refuses to send
            return InvalidRequest("text", None, _said(cause))
        if sqlstate is None and isinstance(error, exc.ProgrammingError) and error.statement:
            return error  # the driver refuses what we ask, and the server has not even heard of it
        if getattr(error, "connection_invalidated", False) or sqlstate is None or sqlstate.startswith(_AWAY):
            return DatabaseAway(f"{self.label} cannot be reached: {_said(cause)}")
        return error

    def _read_only(self, said: str) -> DatabaseAway:
        return DatabaseAway(f"{self.label} cannot be written: {file.missing_right(self._path) or said}")

    def _other_schema(self, cause: BaseException | None) -> SchemaMismatch:
        return SchemaMismatch(
            f"{self.label} has not the schema of this program ({_said(cause)}); run `ipam-ledger db upgrade`, "
            "and if that finds it there already, `ipam-ledger db check`, which names what is missing"
        )

    def revision(self) -> str | None:
        """The schema's revision, None where there is none. Raises DatabaseAway."""
        try:
            with self.read() as tx:
                if not sa.inspect(tx.connection).has_table("alembic_version"):
                    return None
                return tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        except SchemaMismatch:
            return None

    def require_head(self, *, create: bool = True) -> None:
        """Raise SchemaMismatch unless the schema is this program's, naming the command that mends it.

        An SQLite file that does not exist yet is created and migrated; an older one is migrated. Without ``create``,
        as for a question, to which nothing is no answer, one that holds no ledger is refused. Raises DatabaseAway.
        """
        if not create and self.missing:
            raise DatabaseAway(f"there is no ledger at {self._path}; {_FIRST}")
        found = self.revision()
        if found == HEAD:
            return
        if found is None or found < HEAD:
            needs = f"is at schema {found}, this program needs {HEAD}" if found else "has no ledger yet"
            if not self.sqlite or (found is None and not create):
                how = _FIRST if self.sqlite else "run `ipam-ledger db upgrade`"
                raise SchemaMismatch(f"{self.label} {needs}; {how}", found=found, wanted=HEAD)
            from ledger.migrate import upgrade  # Alembic takes 0.4 s to import; only a new file needs it

            try:
                upgrade(self)
            except DatabaseAway as away:
                raise DatabaseAway(f"{self.label} {needs}; {away}") from away.__cause__
            return
        raise SchemaMismatch(
            f"{self.label} is at schema {found}, newer than this program's {HEAD}; upgrade ipam-ledger "
            "(`ipam-ledger db check` shows both)",
            found=found, wanted=HEAD,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tx:
    """An open transaction and what differs between the dialects inside one."""

    connection: Connection
    sqlite: bool

    def clock(self) -> datetime:
        """The database's clock, now (not the transaction's start: a lock may have been waited for since)."""
        if self.sqlite:  # embedded: the database's clock is this process's
            return datetime.fromtimestamp(time.time_ns() // 1000 / 1_000_000, UTC)
        moment: datetime = self.connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return moment.astimezone(UTC)

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        result: Any = self.connection.execute(statement, parameters)
        return result  # type: ignore[no-any-return]


_FIRST = "is the path right? The first `ipam-ledger pool apply` or `ipam-ledger db upgrade` makes a ledger"


def _sqlite_engine(url: URL, path: Path) -> Engine:
    with_parents = not path.parent.exists()
    seen = False
    engine = sa.create_engine(
        url,
        connect_args={"timeout": LOCK_TIMEOUT_MS / 1000, "check_same_thread": False, "isolation_level": None},
        pool_size=8,
        poolclass=sa.QueuePool,
        json_serializer=json_text,
        json_deserializer=_stored_json,
    )

    @event.listens_for(engine, "do_connect")
    def _open(_: Any, record: ConnectionPoolEntry, args: Any, options: Any) -> sqlite3.Connection:
        if with_parents:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if seen:
            path.stat()  # one that went away is somebody's to bring back: SQLite would make an empty one
        connection, record.info["alone"] = file.connect(path, LOCK_TIMEOUT_MS / 1000, *args, **options)
        return connection

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: ConnectionPoolEntry) -> None:
        # FULL: a commit that answered an ADD survives a power cut.
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "recursive_triggers=ON",
            "cache_size=-16000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
        nonlocal seen
        found = path.stat()
        record.info["file"], seen = (found.st_dev, found.st_ino), True

    @event.listens_for(engine, "checkout")
    def _same_file(_: Any, record: ConnectionPoolEntry, __: Any) -> None:
        # A restore that puts a file in its place leaves us with the old one, which has no name any more.
        found = path.stat()
        if record.info.get("file") != (found.st_dev, found.st_ino):
            raise FileReplaced(f"{path} is another file")

    @event.listens_for(engine, "checkin")
    def _once(_: Any, record: ConnectionPoolEntry) -> None:
        if record.info.get("alone"):  # the next may find the file changed, or its rights
            record.invalidate()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE: a writer that begins deferred and then meets another fails at once, whatever the timeout.
        connection.exec_driver_sql("BEGIN" if connection.info.get("deferred") else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(
    url: URL, pool_size: int, seen: dict[str, bool], *, autocommit: bool = False
) -> Engine:
    defaults = {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "application_name": "ipam-ledger",
        # A database host that vanished is noticed after ten seconds, not after the kernel's fifteen minutes.
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
    }
    engine = sa.create_engine(
        url.update_query_dict({key: value for key, value in defaults.items() if key not in url.query}),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # the connection whose server process has its caches warm
        pool_timeout=LOCK_TIMEOUT_MS / 1000,
        native_inet_types=False,  # addresses as text: decoding to ipaddress objects costs more than the query
        json_serializer=json_text,
        # Whatever the database has for a default: who waited for a row's lock goes on with what was committed meanwhile
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: ConnectionPoolEntry) -> None:
        # PgBouncer hands out a process id of its own: behind it a session is not ours to prepare or set things in.
        backend = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
        connection.rollback()  # of the SELECT
        for name, value in _SPOKEN.items():  # PgBouncer keeps these for each of its clients
            if not (connection.info.parameter_status(name) or "").startswith(value):
                connection.execute(f"SET {name} = '{value}'")
        connection.commit()
        if backend != connection.info.backend_pid:
            seen["pooler"] = True
            connection.prepare_threshold = None
            return
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.execute("SET jit = off")  # compiling costs more than any statement here takes
        if autocommit:
            connection.execute("SET default_transaction_isolation = 'read committed'")
            # The quick forms always have the same shape: planning them anew doubles their cost
            connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.commit()

    @event.listens_for(engine, "checkin")
    def _as_the_server_has_it(connection: Any, _: ConnectionPoolEntry) -> None:
        # After a read SQLAlchemy leaves READ WRITE behind, which a standby refuses in words that say nothing
        if connection is not None and not connection.closed and connection.read_only is not None:
            connection.read_only = None

    return engine


def _stored_json(text: str) -> Any:
    """A stored spec; PostgreSQL's are JSON, SQLite stores anything."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise LedgerCorrupt(f"a stored spec is {text!r:.60}; run `ipam-ledger verify`") from None


def _said(cause: BaseException | None) -> str:
    """The first line of what a driver says; the others repeat the statement or the parameters."""
    return str(cause).strip().partition("\n")[0] or type(cause).__name__


def json_text(value: Any) -> str:
    """A value as a column of JSON takes it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
