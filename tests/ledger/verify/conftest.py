"""The ward: one ledger an engine, shared by all tests of a run; what a test does to it is undone."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store import Database, Tx
from tests.ledger.chronicle import Chronicle
from tests.ledger.verify.ward import STORY, Undone
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def sqlite_ward(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    file = tmp_path_factory.mktemp("ward") / "ledger.db"
    shutil.copyfile(migrated_sqlite, file)
    yield from told(f"sqlite:///{file}")


@pytest.fixture(scope="session")
def postgresql_ward(postgres: PostgresServer, migrated_template: str) -> Iterator[Database]:
    yield from told(postgres.create_database("ward", template=migrated_template))
    postgres.drop_database("ward")


def told(url: str) -> Iterator[Database]:
    database = Database(url)
    Chronicle(database).write(STORY)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def ward(request: pytest.FixtureRequest) -> Database:
    """The story's ledger, shared by all: what a test does to it is undone."""
    database: Database = request.getfixturevalue(f"{request.param}_ward")
    return database


@pytest.fixture
def tx(ward: Database) -> Iterator[Tx]:
    """A transaction for damage, which is rolled back."""
    yield from undone(ward)


@pytest.fixture
def sqlite_tx(sqlite_ward: Database) -> Iterator[Tx]:
    yield from undone(sqlite_ward)


@pytest.fixture
def postgresql_tx(postgresql_ward: Database) -> Iterator[Tx]:
    yield from undone(postgresql_ward)


def undone(database: Database) -> Iterator[Tx]:
    with contextlib.suppress(Undone), database.begin() as tx:
        yield tx
        raise Undone


@pytest.fixture
def own(db_url: str) -> Iterator[Database]:
    """A ledger of the test's own, empty."""
    database = Database(db_url)
    yield database
    database.close()
