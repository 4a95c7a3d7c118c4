"""How a migration runs: one at a time (advisory lock), never waiting long for a table that is in use.

Called by ``ledger.migrate`` with an open connection; there is no alembic.ini.
"""

from __future__ import annotations

from alembic import context

from ledger.schema import metadata

LOCK = 0x1A9A_1ED6  # one arbitrary number that all our migrations share
LOCK_TIMEOUT = (
    "10s"  # a table in use makes the migration fail and be tried again, rather than queue all ADDs behind it
)


def _emit_sql() -> None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _migrate() -> None:
    connection = context.config.attributes["connection"]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    context.run_migrations()


if context.is_offline_mode():
    _emit_sql()
else:
    _migrate()
