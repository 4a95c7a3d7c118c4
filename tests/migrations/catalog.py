"""What a database really has: its own catalogue, as text that can be compared."""

from __future__ import annotations

import re

from ledger.store import Database

_POSTGRESQL = {
    "columns": """
        SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' '
            || a.attidentity::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "tables": """
        SELECT relname, coalesce(reloptions::text, '') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    """,
    "triggers": """
        SELECT tgname, pg_get_triggerdef(oid) || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
    """,
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "privileges": """
        SELECT relname || ' ' || coalesce(relacl::text, ''), '' FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    """,
}


def of(database: Database, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Everything in the catalogue, by kind and name, but for Alembic's own table."""
    out: dict[str, str] = {}
    with database.read() as tx:
        if database.sqlite:
            rows = tx.connection.exec_driver_sql(
                "SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
            ).all()
            found = [(kind + "s", name, _plain(sql)) for kind, name, sql in rows]
        else:
            found = [
                (kind, name, _plain(said))
                for kind, query in _POSTGRESQL.items()
                for name, said in tx.connection.exec_driver_sql(query.replace("%", "%%")).all()
            ]
    for kind, name, said in found:
        if kind not in without and not name.startswith("alembic_version"):
            out[f"{kind}: {name}"] = said
    return out


def _plain(sql: str) -> str:
    """Blanks and the order of a table's constraints differ between the ways to write one."""
    sql = " ".join(sql.split())
    found = re.fullmatch(r"(CREATE TABLE \w+ )\((.*)\)", sql)
    if not found:
        return sql
    parts = re.split(r",(?![^(]*\))\s*", found[2])
    return found[1] + ", ".join(sorted(part.strip() for part in parts))
