"""Fixtures for all rooms: fresh databases on both engines, servers to kill.

=====================  =====================================================================================
``sqlite_url``         a fresh migrated SQLite file
``postgres_url``       a fresh migrated PostgreSQL database, as its owner (not a superuser)
``writer_url``         ``postgres_url``'s database as a user of the writer role, who cannot change the past
``auditor_url``        as a user of the auditor role, who can only read
``db_url``             both in turn; the test's id says which
``empty_sqlite_url``   an SQLite file that is not there yet
``empty_postgres_url`` a fresh PostgreSQL database that nobody migrated
``postgres``           the worker's shared cluster: ``.url(db, user=)``, ``.connect(db, user=)``; do not stop it
``postgres_server``    a cluster of the test's own, with a migrated database ``ledger``: ``kill9()``, ``restart()``
``pgbouncer``          PgBouncer in transaction mode before the shared cluster: ``.url(db)``
``pgbouncer_url``      a fresh migrated database through it
``agents``             starts agents: ``agents(db_url)``; see ``tests.servers.agent``
``control_plane``      a real kube-apiserver with its etcd, one a worker; see ``tests.servers.apiserver``
``cluster``            the same with the IPPool's definition
``namespace``          a namespace of the test's own in it
``keeper``             undoes things in the end, even if the run is killed
=====================  =====================================================================================
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from tests.servers import apiserver_fixtures, need
from tests.servers.agent import Agent
from tests.servers.apiserver_fixtures import cluster as cluster
from tests.servers.apiserver_fixtures import control_plane as control_plane
from tests.servers.apiserver_fixtures import namespace as namespace
from tests.servers.keeper import Keeper
from tests.servers.postgres import AUDITOR, HOW, SETTINGS, WRITER, PgBouncer, PostgresServer, as_user, find

_numbers = itertools.count(1)

# How long an example takes says something of the machine and of what else it does, and nothing of us.
settings.register_profile(
    "on any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("on any machine")


@pytest.fixture(scope="session")
def keeper() -> Iterator[Keeper]:
    keeper = Keeper()
    yield keeper
    keeper.close()


@pytest.fixture(scope="session")
def postgres(keeper: Keeper) -> Iterator[PostgresServer]:
    programs = find()
    if programs is None:
        need.missing("PostgreSQL", HOW)
    server = PostgresServer(programs, keeper, settings=SETTINGS | {"fsync": "off"})
    try:
        server.start()
        server.create_owner()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """A database migrated once by our own migrations, from which the others are copied."""
    migrate(postgres.create_database("migrated"))
    postgres.create_logins()
    return "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for SQLite: a file to copy."""
    file = tmp_path_factory.mktemp("migrated") / "ledger.db"
    migrate(f"sqlite:///{file}")
    assert not file.with_name("ledger.db-wal").exists(), "a connection to the template is still open"
    return file


@pytest.fixture
def fresh_postgres(postgres: PostgresServer) -> Iterator[Callable[..., str]]:
    """Creates databases, ``fresh_postgres(template)`` → URL, and drops them after the test."""
    made: list[str] = []

    def create(template: str | None = None) -> str:
        name = f"t{next(_numbers)}"
        made.append(name)
        return postgres.create_database(name, template=template)

    yield create
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def postgres_url(fresh_postgres: Callable[..., str], migrated_template: str) -> str:
    return fresh_postgres(migrated_template)


@pytest.fixture
def writer_url(postgres_url: str) -> str:
    return as_user(WRITER, postgres_url)


@pytest.fixture
def auditor_url(postgres_url: str) -> str:
    return as_user(AUDITOR, postgres_url)


@pytest.fixture
def empty_postgres_url(fresh_postgres: Callable[..., str]) -> str:
    return fresh_postgres()


@pytest.fixture
def sqlite_url(empty_sqlite_url: str, migrated_sqlite: Path) -> str:
    shutil.copyfile(migrated_sqlite, str(make_url(empty_sqlite_url).database))
    return empty_sqlite_url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_db_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(
        "empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    )
    return url


@pytest.fixture
def postgres_server(postgres: PostgresServer, keeper: Keeper) -> Iterator[PostgresServer]:
    server = PostgresServer(postgres.programs, keeper, like=postgres)
    try:
        server.start()
        server.create_owner()
        migrate(server.create_database("ledger"))
        server.create_logins()
        yield server
    finally:
        server.close()


@pytest.fixture
def pgbouncer(postgres: PostgresServer, keeper: Keeper) -> Iterator[PgBouncer]:
    bouncer = PgBouncer(need.program("pgbouncer", "apt-get install pgbouncer"), postgres, keeper)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.close()


@pytest.fixture
def pgbouncer_url(pgbouncer: PgBouncer, postgres_url: str) -> str:
    return pgbouncer.url(str(make_url(postgres_url).database))


@pytest.fixture
def agents(keeper: Keeper) -> Iterator[Callable[..., Agent]]:
    """``agents(url, node=…, options=[…])`` → a running agent, ended after the test."""
    started: list[Agent] = []

    def start(url: str, **options: Any) -> Agent:
        agent = Agent(url, keeper=keeper, **options)
        started.append(agent)
        agent.start()
        return agent

    yield start
    for agent in started:
        agent.close()


def migrate(url: str) -> None:
    """Bring a database to the head of our migrations, as ``ipam-ledger db upgrade`` does."""
    from ledger.migrate import upgrade  # late: unit tests of pure modules need no Alembic
    from ledger.store import Database

    database = Database(url)
    try:
        upgrade(database)
    finally:
        database.close()


@pytest.fixture(autouse=True, scope="session")
def _no_ledger_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the ledger that this machine may really have."""
    kept = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith("IPAM_LEDGER_") and name != need.CI
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger.keys.state_folder", lambda: tmp_path_factory.getbasetemp() / "none")
        yield
    os.environ.update(kept)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Root's tests share the machine's bridges and its patience: one worker runs them all."""
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.xdist_group("root"))
    apiserver_fixtures.mark(items)
