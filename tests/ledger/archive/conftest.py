"""The sample ledger on both engines, and databases to bring it to.

It is written once a run and copied for each test: the copies are one ledger, as a restored backup is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.store import Database
from tests.ledger.archive.sample import write
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def sample_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sample") / "ledger.db"
    shutil.copyfile(migrated_sqlite, file)
    with closing(Database(f"sqlite:///{file}")) as database:
        write(database)
    assert not file.with_name("ledger.db-wal").exists(), "a connection to the sample is still open"
    return file


@pytest.fixture(scope="session")
def sample_postgres(postgres: PostgresServer, migrated_template: str) -> str:
    with closing(Database(postgres.create_database("sample", template=migrated_template))) as database:
        write(database)
    return "sample"


@pytest.fixture
def sqlite(sample_sqlite: Path, empty_sqlite_url: str, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sample_sqlite, tmp_path / "ledger.db")
    with closing(Database(empty_sqlite_url)) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    make, sample = request.getfixturevalue("fresh_postgres"), request.getfixturevalue("sample_postgres")
    with closing(Database(make(sample))) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'target.db'}")
        database.require_head()
    else:
        make, template = (
            request.getfixturevalue("fresh_postgres"),
            request.getfixturevalue("migrated_template"),
        )
        database = Database(make(template))
    yield database
    database.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(f"sqlite:///{tmp_path / f'empty{len(made)}.db'}"))
        made[-1].require_head()
        return made[-1]

    yield make
    for database in made:
        database.close()
