"""The roads that a story about a book is told on.

``page``: a :class:`tests.ledger.pages.Page` on each road in turn, the laws looked at afterwards. The databases are shared by
all stories of a run; each page has pools of its own. PostgreSQL is written as a user of the writer role, so that the
stories show that the role can do all that a book needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store import Database
from tests.laws import laws
from tests.ledger.pages import Page
from tests.servers import need
from tests.servers.keeper import Keeper
from tests.servers.postgres import WRITER, PgBouncer, PostgresServer, as_user


@pytest.fixture(scope="session")
def sqlite_road(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    file = tmp_path_factory.mktemp("road") / "ledger.db"
    shutil.copyfile(migrated_sqlite, file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@pytest.fixture(scope="session")
def road_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    yield postgres.create_database("road", template=migrated_template)
    postgres.drop_database("road")


@pytest.fixture(scope="session")
def postgresql_road(road_database: str) -> Iterator[Database]:
    database = Database(as_user(WRITER, road_database))
    yield database
    database.close()


@pytest.fixture(scope="session")
def pgbouncer_road(postgres: PostgresServer, road_database: str, keeper: Keeper) -> Iterator[Database]:
    bouncer = PgBouncer(need.program("pgbouncer", "apt-get install pgbouncer"), postgres, keeper)
    try:
        bouncer.start()
        database = Database(bouncer.url("road", user=WRITER))
        yield database
        database.close()
    finally:
        bouncer.close()


ROADS = ["sqlite", "sqlite-steps", "postgresql", "postgresql-steps"]


@pytest.fixture(params=["sqlite", "postgresql"])
def patient_page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """For stories that wait for real seconds: on one road of each engine."""
    page = Page(request.getfixturevalue(f"{request.param}_road"))
    yield page
    assert laws.broken(page.database, page.mark + "%") == []


@pytest.fixture(params=ROADS)
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    engine, _, steps = request.param.partition("-")
    page = Page(request.getfixturevalue(f"{engine}_road"), steps=bool(steps))
    yield page
    assert page.unlike_the_ledger() == []
    assert laws.broken(page.database, page.mark + "%") == []
