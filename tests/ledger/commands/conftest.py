"""``cli``: commands on an empty ledger; ``told``: on the one of the story; ``any_told``: the same on either database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.store import Database
from tests.ledger.chronicle import Chronicle
from tests.ledger.cli import Cli
from tests.ledger.commands.story import STORY


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    return Cli(sqlite_url)


@pytest.fixture
def told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.setenv("TZ", "UTC")
    database = Database(cli.url)
    Chronicle(database).write(STORY)
    database.close()
    yield cli


@pytest.fixture(params=["sqlite", "postgresql"])
def any_told(request: pytest.FixtureRequest) -> Cli:
    """The same on either engine, where the two might differ."""
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    database = Database(url)
    Chronicle(database).write(STORY)
    database.close()
    return Cli(url)
