"""The head of the migrations is the schema that the program knows: nothing more, nothing less, on both databases."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.base import ischema_names

from ledger import migrate
from ledger.schema import HEAD, Xid8, metadata
from ledger.store import Database
from tests.migrations import catalog


def test_alembic_sees_no_difference(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ischema_names, "xid8", Xid8)  # which SQLAlchemy does not know
    with closing(Database(db_url)) as database, database.begin() as tx:
        context = MigrationContext.configure(tx.connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD


def test_the_catalogue_is_what_the_metadata_creates(db_url: str, empty_db_url: str) -> None:
    """Also where Alembic does not look: partial indexes, included columns, checks, storage parameters."""
    with closing(Database(db_url)) as migrated, closing(Database(empty_db_url)) as created:
        if db_url.split(":")[0] != empty_db_url.split(":")[0] or db_url == empty_db_url:
            return
        with created.begin() as tx:
            metadata.create_all(tx.connection)
        guards = ("triggers", "functions", "privileges")
        assert catalog.of(migrated, without=guards) == catalog.of(created, without=guards)


def test_the_programs_head_is_the_last_migration_and_there_is_one_line() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    assert scripts.get_heads() == [HEAD]
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True), "revisions are compared as text"


def test_every_migration_says_what_it_does() -> None:
    for script in ScriptDirectory.from_config(migrate.config()).walk_revisions():
        assert script.doc and len(script.doc) > 20


def test_names(postgres_url: str) -> None:
    """Every constraint and index has a name of ours, since a name maps to an error."""
    with closing(Database(postgres_url)) as database, database.begin() as tx:
        inspector = sa.inspect(tx.connection)
        for table in metadata.tables:
            names = [index["name"] for index in inspector.get_indexes(table)]
            names += [each["name"] for each in inspector.get_unique_constraints(table)]
            names += [each["name"] for each in inspector.get_check_constraints(table)]
            names.append(inspector.get_pk_constraint(table)["name"])
            for name in names:
                assert name is not None and name.startswith(f"{table}_"), (table, name)
                assert name.rsplit("_", 1)[1] in ("pk", "key", "idx", "check"), name
