"""What an administrator of the database can do, whom no trigger stops: switch the guard off, change, switch it on again."""

from __future__ import annotations

from typing import Any

import zstandard

from ledger.store import Database


def tamper(database: Database, table: str, statement: str, *parameters: Any) -> None:
    """Run one statement on a guarded table behind the guard's back. Placeholders are ``{}``."""
    with database.begin() as tx:
        run = tx.connection.exec_driver_sql
        if tx.sqlite:
            triggers = run(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
            ).all()
            for name, _ in triggers:
                run(f"DROP TRIGGER {name}")
            run(statement.replace("{}", "?"), parameters)
            for _, sql in triggers:
                run(sql)
        else:
            run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            run(statement.replace("%", "%%").replace("{}", "%s"), parameters)
            run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")


def text(export: bytes) -> bytes | None:
    """What zstd makes of it; None if nothing. One bit in six hundred may be another and say the same, such as the one of two
    places from which a repetition is taken: then nothing was changed."""
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(export)
    except zstandard.ZstdError:
        return None
