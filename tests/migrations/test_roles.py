"""The writer's and the auditor's role: made where this user may, else told as SQL for somebody who may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from ledger import migrate, pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import DatabaseAway
from ledger.events import Attachment, Owner
from ledger.schema import HEAD
from ledger.store import Database
from ledger.store.roles import AUDITOR, WRITER
from tests.laws import laws
from tests.migrations import catalog
from tests.servers.postgres import AUDITOR as AUDITING_USER
from tests.servers.postgres import WRITER as WRITING_USER
from tests.servers.postgres import PostgresServer, as_user

POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]})
CLAIM = Claim(("p",), Owner("ns", "a", None), Attachment("c1", "eth0", "n"))


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server of the test's own, without the roles, and a user ``plain`` who may make none, with a database of that name."""
    with postgres_server.connect("ledger") as db:
        for role in (WRITER, AUDITOR):
            db.execute(f"DROP OWNED BY {role}")
    with postgres_server.connect() as db:
        for role in (WRITING_USER, AUDITING_USER, WRITER, AUDITOR):
            db.execute(f"DROP ROLE {role}")
        db.execute("CREATE ROLE plain LOGIN")
        db.execute("CREATE DATABASE plain OWNER plain")
    yield postgres_server


def roles(server: PostgresServer) -> dict[str, bool]:
    """The two roles that there are, and whether somebody could log in as one."""
    with server.connect() as db:
        rows = db.execute(
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE 'ipam_ledger%%'"
        ).fetchall()
    return dict(rows)


def test_made_told_and_granted(server: PostgresServer) -> None:
    with (
        closing(Database(server.url("plain", user="plain"))) as plain,
        closing(Database(server.url("ledger"))) as owned,
    ):
        # Who may make none is told what somebody else must run, and has the schema meanwhile
        done = migrate.upgrade(plain)
        assert roles(server) == {}
        assert plain.revision() == HEAD
        assert len(done.roles_sql) == 5
        assert migrate.upgrade(plain).roles_sql == done.roles_sql, "told again as long as it is so"
        Book(plain, actor="test").apply_pool(POOL)

        # That SQL is all that is needed, may be repeated, and then nothing is told any more
        with server.connect("plain") as admin:
            for _ in range(2):
                for statement in done.roles_sql:
                    admin.execute(statement)  # type: ignore[arg-type]
        assert roles(server) == {WRITER: False, AUDITOR: False}
        assert migrate.upgrade(plain).roles_sql == ()

        # Who may make them does, and grants; roles that are there already are used
        assert migrate.upgrade(owned).roles_sql == ()
        kinds = ("tables", "columns", "indexes", "constraints", "triggers", "functions")
        assert {
            key: said.replace("plain", "ledger_owner")
            for key, said in catalog.of(plain, without=kinds).items()
        }
        server.create_logins()
        for name in ("plain", "ledger"):
            work(server, name)


def work(server: PostgresServer, name: str) -> None:
    """A book as the writer, a look as the auditor."""
    with closing(Database(server.url(name, user=WRITING_USER))) as database:
        book = Book(database, actor="test")
        book.ready()
        book.apply_pool(POOL)
        book.allocate(CLAIM)
        book.release(CLAIM.attachment)
        assert laws.broken(database) == []
        # An upgrade by somebody who owns nothing changes nothing, and says nothing where nothing is to be done
        assert migrate.upgrade(database) == migrate.Upgrade(HEAD, HEAD)
    with closing(Database(server.url(name, user=AUDITING_USER))) as database:
        assert Book(database, actor="test").pool("p").allocated == 0
        assert laws.broken(database) == []
        with pytest.raises(DatabaseAway, match="permission denied"):
            Book(database, actor="test").allocate(CLAIM)


def test_the_writer_role_does_not_come_with_the_ledgers_owner(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """A stranger who is no member of either role sees nothing at all."""
    with postgres.connect() as admin:
        admin.execute("CREATE ROLE stranger LOGIN")
    try:
        with closing(Database(as_user("stranger", postgres_url))) as database:
            with pytest.raises(DatabaseAway, match="permission denied"):
                Book(database, actor="test").pools()
            with pytest.raises(DatabaseAway, match="permission denied"):
                database.require_head()
    finally:
        with postgres.connect() as admin:
            admin.execute("DROP ROLE stranger")


def test_roles_of_that_name_that_can_log_in_are_left_as_they_are(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with postgres.connect() as admin:
        admin.execute(f"ALTER ROLE {WRITER} LOGIN")
        try:
            with closing(Database(postgres_url)) as database:
                migrate.upgrade(database)
            assert admin.execute(
                f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{WRITER}'"
            ).fetchone() == (True,)
        finally:
            admin.execute(f"ALTER ROLE {WRITER} NOLOGIN")
    assert psycopg.__version__
