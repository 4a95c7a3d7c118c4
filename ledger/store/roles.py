"""PostgreSQL's privileges: who may write the ledger, and who may only read it.

``ipam_ledger_writer`` appends events and keeps the projections; it cannot UPDATE, DELETE or TRUNCATE the ledger.
``ipam_ledger_auditor`` reads everything and changes nothing. Both are group roles without login: grant them
to the users that agents and auditors log in as.
"""

from __future__ import annotations

import sqlalchemy as sa

from ledger.schema import UPGRADE_LOCK, metadata
from ledger.store.database import Database

WRITER = "ipam_ledger_writer"
AUDITOR = "ipam_ledger_auditor"

APPEND_ONLY = ("ledger", "seal", "seal_node", "checkpoint", "fence")
"""Tables that only grow. Whoever adds one adds its guard in the same migration."""


def create_sql() -> list[str]:
    """The statements that make the two roles, each harmless when repeated."""
    return [
        f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        for role in (WRITER, AUDITOR)
    ]


def grant_sql() -> list[str]:
    """The statements that give the two roles their privileges, each harmless when repeated."""
    kept = sorted(set(metadata.tables) - set(APPEND_ONLY))
    return [
        f"GRANT SELECT ON alembic_version, {', '.join(sorted(metadata.tables))} TO {WRITER}, {AUDITOR}",
        f"GRANT INSERT ON {', '.join(APPEND_ONLY)} TO {WRITER}",
        f"GRANT INSERT, UPDATE, DELETE ON {', '.join(kept)} TO {WRITER}",
    ]


def ensure(database: Database) -> list[str]:
    """Make roles and grants if this user may; else return the SQL for somebody who may."""
    with database.begin() as tx:
        tx.connection.exec_driver_sql(
            f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"
        )  # two GRANTs at once: one fails
        existing = set(
            tx.execute(
                sa.text("SELECT rolname FROM pg_roles WHERE rolname IN (:w, :a)"), {"w": WRITER, "a": AUDITOR}
            ).scalars()
        )
        may_create = tx.execute(
            sa.text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        ).scalar_one()
        if not may_create and existing != {WRITER, AUDITOR}:
            return [*create_sql(), *grant_sql()]
        for statement in [*(create_sql() if may_create else []), *grant_sql()]:
            tx.connection.exec_driver_sql(statement)
    return []
