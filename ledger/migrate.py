"""Bring a database to this program's schema. The only module that imports Alembic (0.4 s, so import it late)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config

import migrations
from ledger.errors import SchemaMismatch
from ledger.schema import HEAD
from ledger.store import Database
from ledger.store.roles import ensure

OLDEST = 14
"""The oldest PostgreSQL that this program takes."""

_one_at_a_time = Lock()  # Alembic's context is the process's; other processes meet at env.py's lock


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: revisions before and after, and the SQL for roles that this user may not create."""

    before: str | None
    after: str
    roles_sql: tuple[str, ...] = ()


def config() -> Config:
    """Alembic's configuration, found in the installed package: no ini file, no checkout."""
    out = Config()
    out.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    return out


def upgrade(database: Database, revision: str = HEAD) -> Upgrade:
    """Migrate to ``revision`` under an advisory lock.

    Raises SchemaMismatch if the database is newer or its PostgreSQL too old, DatabaseAway.
    """
    before = database.revision()
    if before is not None and before > HEAD:
        raise SchemaMismatch(
            f"{database.label} is at schema {before}, newer than this program's {HEAD}; upgrade ipam-ledger instead",
            found=before, wanted=HEAD,
        )  # fmt: skip
    with _one_at_a_time, database.begin() as tx:
        major = int((tx.connection.dialect.server_version_info or (0,))[0])
        if not tx.sqlite and major < OLDEST:
            raise SchemaMismatch(
                f"{database.label} is on PostgreSQL {major}; ipam-ledger needs {OLDEST} or newer",
                found=major, wanted=OLDEST,
            )  # fmt: skip
        alembic = config()
        alembic.attributes["connection"] = tx.connection
        command.upgrade(alembic, revision)
    roles_sql = () if database.sqlite or revision != HEAD else tuple(ensure(database))
    return Upgrade(before, revision, roles_sql)


def downgrade(database: Database, revision: str) -> None:
    """Go back to ``revision`` ("base" for none). Refused by a migration whose tables hold events."""
    with _one_at_a_time, database.begin() as tx:
        alembic = config()
        alembic.attributes["connection"] = tx.connection
        command.downgrade(alembic, revision)


def upgrade_sql() -> str:
    """All migrations as SQL for PostgreSQL, for those who review before they run, and for the linter."""
    out = io.StringIO()
    alembic = config()
    alembic.output_buffer = out
    command.upgrade(alembic, HEAD, sql=True)
    return out.getvalue()
