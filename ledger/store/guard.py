"""Whether the database itself still refuses to change the ledger: the triggers are looked at, not believed in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from ledger.schema import metadata
from ledger.store.database import Tx
from ledger.store.roles import APPEND_ONLY

# What SQLite's triggers ask before an INSERT, which may be an INSERT OR REPLACE
_THERE = {
    table: f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - constants only
    for table, same in {
        "ledger": "seq = NEW.seq",
        "seal": "first = NEW.first",
        "seal_node": "level = NEW.level AND idx = NEW.idx",
        "checkpoint": "id = NEW.id",
        "fence": "id = NEW.id",
    }.items()
}
_THERE["ledger"] += (
    " OR EXISTS (SELECT 1 FROM ledger WHERE pool_id = NEW.pool_id AND ip IS NEW.ip AND version = NEW.version)"
)
_EVENTS = ("update", "delete", "replace")  # SQLite's triggers of each table, by the ends of their names
_BEFORE, _DELETE, _UPDATE, _TRUNCATE, _ROW = 2, 8, 16, 32, 1  # PostgreSQL's pg_trigger.tgtype


@dataclass(frozen=True, slots=True)
class Guarded:
    """One table, constraint or index, and what is wrong with it (None: nothing)."""

    what: str
    name: str
    wrong: str | None


def look(tx: Tx) -> list[Guarded]:
    """The guard of each table that only grows; then what laws stand on, CHECK constraints and unique indexes."""
    tables = _sqlite_tables(tx) if tx.sqlite else _postgresql_tables(tx)
    return tables + _checks(tx) + _indexes(tx, unique=True)


def lookups(tx: Tx) -> list[Guarded]:
    """The other indexes: without one, nothing is wrong but slow."""
    return _indexes(tx, unique=False)


def meddlers(tx: Tx) -> list[Guarded]:
    """What somebody hung on a table of ours that changes what is written to it or read from it."""
    if not tx.sqlite:
        found = tx.connection.exec_driver_sql(_MEDDLERS, (list(metadata.tables),)).all()
        return [Guarded("table", table, wrong) for table, wrong in found] + _numbers(tx)
    ours = {f"{table}_append_only_{event}" for table in APPEND_ONLY for event in _EVENTS}
    triggers = tx.connection.exec_driver_sql(
        "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger' ORDER BY tbl_name, name"
    )
    return [
        Guarded("table", table, f"trigger {name} may change what is written, and is not ours")
        for table, name in triggers
        if table in metadata.tables and name not in ours
    ]


def _numbers(tx: Tx) -> list[Guarded]:
    """PostgreSQL: a position is never given twice, so while there are some ahead of the next one nothing can be written."""
    query = """
        SELECT s.last_value, (SELECT max(seq) FROM ledger) FROM pg_sequences s
        WHERE to_regclass(quote_ident(schemaname) || '.' || quote_ident(sequencename))
              = pg_get_serial_sequence('ledger', 'seq')::regclass
    """
    return [
        Guarded(
            "table", "ledger", f"the next event would be {(given or 0) + 1}, but there is {newest} already"
        )
        for given, newest in tx.connection.exec_driver_sql(query)
        if given is not None and newest is not None and given < newest
    ]


_MEDDLERS = """
    SELECT c.relname, found.wrong
    FROM unnest(%s::text[]) AS ours(name) JOIN pg_class c ON c.oid = to_regclass(ours.name), LATERAL (
        SELECT 'it is no ordinary table' WHERE c.relkind <> 'r'
        UNION ALL SELECT 'it is unlogged: a crash empties it' WHERE c.relpersistence = 'u'
        UNION ALL SELECT 'row level security may hide its rows' WHERE c.relrowsecurity
        UNION ALL SELECT 'rule ' || rulename || ' may change what is written' FROM pg_rewrite WHERE ev_class = c.oid
        UNION ALL SELECT inhrelid::regclass || ' inherits from it: its rows are read as well' FROM pg_inherits
            WHERE inhparent = c.oid
        UNION ALL SELECT 'trigger ' || tgname || ' may change what is written, and is not ours' FROM pg_trigger
            WHERE tgrelid = c.oid AND NOT tgisinternal AND tgtype & 3 = 3 AND tgenabled <> 'D' -- BEFORE, ROW
        UNION ALL SELECT 'there is another of that name: ' || o.relnamespace::regnamespace || '.' || o.relname FROM pg_class o
            WHERE o.relname = c.relname AND o.oid <> c.oid AND o.relnamespace::regnamespace::text = ANY (current_schemas(false)::text[])
    ) AS found(wrong)
    ORDER BY 1, 2
"""


def _postgresql_tables(tx: Tx) -> list[Guarded]:
    query = """
        SELECT c.relname, t.tgenabled::text, t.tgtype, f.proname, f.prosrc, t.tgqual IS NULL AND cardinality(t.tgattr::int2[]) = 0
        FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = c.relname || '_append_only'
             LEFT JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
    """
    found = {row[0]: row[1:] for row in tx.connection.exec_driver_sql(query, (list(APPEND_ONLY),))}
    return [Guarded("append-only", table, _postgresql_wrong(found.get(table))) for table in APPEND_ONLY]


def _postgresql_wrong(
    row: tuple[str | None, int | None, str | None, str | None, bool | None] | None,
) -> str | None:
    if row is None:
        return "the table is missing"
    enabled, kinds, function, source, always = row
    if enabled is None or kinds is None:
        return "its trigger is missing: the ledger can be changed"
    if enabled != "A":
        state = {"D": "disabled", "O": "not enabled in replica mode", "R": "enabled in replica mode only"}
        return f"its trigger is {state.get(enabled, enabled)}"
    if (
        kinds & _ROW
        or kinds & (_BEFORE | _UPDATE | _DELETE | _TRUNCATE) != _BEFORE | _UPDATE | _DELETE | _TRUNCATE
    ):
        return "its trigger does not stand before UPDATE, DELETE and TRUNCATE"
    if not always:
        return "its trigger stands before some changes only: it has a condition or a list of columns"
    body = re.sub(r"\s+", " ", source or "").strip()
    if function != "ledger_is_append_only" or not re.fullmatch(
        r"BEGIN RAISE EXCEPTION '[^;]*;( END;?)", body
    ):
        return f"its trigger runs {function}(), which does not refuse"
    return None


def _checks(tx: Tx) -> list[Guarded]:
    if tx.sqlite:
        tables = tx.connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'table'").scalars()
        found = set(re.findall(r"CONSTRAINT (\w+) CHECK", " ".join(tables)))
    else:
        query = """
            SELECT conname FROM pg_constraint
            WHERE contype = 'c' AND conrelid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
        """
        found = set(tx.connection.exec_driver_sql(query, (list(metadata.tables),)).scalars())
    ours = [key for table in metadata.tables.values() for key in table.constraints]
    names = sorted(str(key.name) for key in ours if isinstance(key, sa.CheckConstraint))
    return [Guarded("constraint", name, None if name in found else "it is missing") for name in names]


def _indexes(tx: Tx, *, unique: bool) -> list[Guarded]:
    wanted = {name: sql for name, sql in _wanted_indexes(tx).items() if (" UNIQUE " in sql) is unique}
    found = _sqlite_indexes(tx) if tx.sqlite else _postgresql_indexes(tx, wanted)
    out = []
    for name in sorted(wanted):
        there = found.get(name)
        wrong = None if there == wanted[name] else f"it is another: {there!r}, not {wanted[name]!r}"
        out.append(Guarded("index", name, "it is missing" if there is None else wrong))
    return out


def _wanted_indexes(tx: Tx) -> dict[str, str]:
    out = {}
    for table in metadata.tables.values():
        for index in table.indexes:
            out[str(index.name)] = _plain(str(CreateIndex(index).compile(dialect=tx.connection.dialect)))
        for key in table.constraints:
            if isinstance(key, (sa.PrimaryKeyConstraint, sa.UniqueConstraint)):
                out[str(key.name)] = _key(str(key.name), table.name, key.columns.keys())
    return out


def _key(name: str, table: str, columns: Iterable[str]) -> str:
    return _plain(f"CREATE UNIQUE INDEX {name} ON {table} ({', '.join(columns)})")


def _plain(sql: str) -> str:
    """Without what PostgreSQL adds as it shows an index: the schema, the method, casts of texts, parentheses."""
    sql = re.sub(r' ON ("[^"]*"|\w+)\.', " ON ", sql)
    return " ".join(re.sub(r"USING btree|::text", " ", re.sub(r'[()"]', "", sql)).split())


def _postgresql_indexes(tx: Tx, names: Iterable[str]) -> dict[str, str]:
    query = """
        SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name) AND i.indisvalid
    """
    return {name: _plain(sql) for name, sql in tx.connection.exec_driver_sql(query, (list(names),))}


def _sqlite_tables(tx: Tx) -> list[Guarded]:
    rows = tx.connection.exec_driver_sql(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'table')"
    )
    found = {name: (table, " ".join((sql or "").split())) for name, table, sql in rows}
    return [Guarded("append-only", table, _sqlite_wrong(table, found)) for table in APPEND_ONLY]


def _sqlite_wrong(table: str, found: dict[str, tuple[str, str]]) -> str | None:
    if table not in found:
        return "the table is missing"
    for event in _EVENTS:
        name = f"{table}_append_only_{event}"
        if name not in found or found[name][0] != table:
            return f"its trigger {name} is missing: the ledger can be changed"
        verb = "INSERT" if event == "replace" else event.upper()
        when = re.escape(f"WHEN {_THERE[table]} ") if event == "replace" else ""
        form = (
            rf"CREATE TRIGGER {name} BEFORE {verb} ON {table} {when}BEGIN SELECT RAISE\(ABORT, '[^']*'\); END"
        )
        if not re.fullmatch(form, found[name][1]):
            return f"its trigger {name} does not refuse every {verb}"
    return None


def _sqlite_indexes(tx: Tx) -> dict[str, str]:
    rows = tx.connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    )
    found = {name: _plain(sql) for name, sql in rows}
    tables = sa.inspect(tx.connection)
    for table in set(metadata.tables).intersection(tables.get_table_names()):
        key = tables.get_pk_constraint(table)
        if key["constrained_columns"]:  # a table's own numbers are a key without a name
            name = key["name"] or f"{table}_pk"
            found[name] = _key(name, table, key["constrained_columns"])
        for unique in tables.get_unique_constraints(table):
            found[str(unique["name"])] = _key(str(unique["name"]), table, unique["column_names"])
    return found


def privileges(tx: Tx) -> list[str]:
    """PostgreSQL: what this session's user could do to the ledger besides reading and appending, triggers apart."""
    if tx.sqlite:
        return []
    query = sa.text(
        "SELECT verb FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS verb"
        " WHERE has_table_privilege(to_regclass('ledger'), verb)"
    )
    return [str(verb) for verb in tx.execute(query).scalars()]
