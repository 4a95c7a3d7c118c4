"""How a migration runs: one at a time (advisory lock), never waiting long for a table that is in use.

Called by ``ledger.migrate`` with an open connection; there is no alembic.ini.
"""

from __future__ import annotations

from alembic import context

from ledger.schema import UPGRADE_LOCK, metadata

MANNERS = (
    f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})",
    "SET LOCAL lock_timeout = '10s'",  # a table in use: fail and be tried again, rather than queue all ADDs behind it
    "SET LOCAL statement_timeout = '15min'",  # an index on tens of millions of events takes one or two
)


def _emit_sql() -> None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        for statement in MANNERS:
            context.execute(statement)
        context.run_migrations()


def _migrate() -> None:
    connection = context.config.attributes["connection"]
    if connection.dialect.name == "postgresql":
        for statement in MANNERS:
            connection.exec_driver_sql(statement)
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    context.run_migrations()


if context.is_offline_mode():
    _emit_sql()
else:
    _migrate()
