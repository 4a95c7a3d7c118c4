"""The migrations as SQL, for those who review before they run: the linter accepts it, and it makes the same database."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger import migrate
from ledger.schema import HEAD
from ledger.store import Database
from tests.migrations import catalog
from tests.servers.postgres import OWNER, PostgresServer


def test_it_makes_the_same_database(
    postgres: PostgresServer, postgres_url: str, empty_postgres_url: str
) -> None:
    with closing(Database(postgres_url)) as migrated, closing(Database(empty_postgres_url)) as by_hand:
        with postgres.connect(str(by_hand.url.database), user=OWNER) as db:
            db.execute(migrate.upgrade_sql())  # type: ignore[arg-type]
        assert by_hand.revision() == HEAD
        assert catalog.of(by_hand, without=("privileges",)) == catalog.of(migrated, without=("privileges",))


def test_the_linter_accepts_it(tmp_path: Path) -> None:
    squawk = shutil.which("squawk", path=str(Path(sys.executable).parent))
    if squawk is None:
        pytest.skip("squawk is a part of `make check`, and is not installed here")
    file = tmp_path / "migrations.sql"
    file.write_text(migrate.upgrade_sql())
    done = subprocess.run(
        [squawk, str(file)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout + done.stderr
