"""``verify`` names what was taken from the guard of the tables that only grow, from their indexes, or hung on them."""

from __future__ import annotations

import pytest

from ledger.store import Tx
from ledger.verify import guard
from tests.ledger.verify.ward import change, found

TABLES = ["ledger", "seal", "seal_node", "checkpoint", "fence"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("event", ["update", "delete", "replace"])
def test_a_dropped_trigger_is_named_sqlite(sqlite_tx: Tx, table: str, event: str) -> None:
    change(sqlite_tx, f"DROP TRIGGER {table}_append_only_{event}")
    assert found(sqlite_tx) == {
        "guard": [f"{table}: its trigger {table}_append_only_{event} is missing: the ledger can be changed"]
    }


def test_a_trigger_that_refuses_nothing_is_named_sqlite(sqlite_tx: Tx) -> None:
    change(sqlite_tx, "DROP TRIGGER ledger_append_only_delete")
    change(
        sqlite_tx,
        "CREATE TRIGGER ledger_append_only_delete BEFORE DELETE ON ledger WHEN OLD.seq > 1000 "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    )
    assert found(sqlite_tx)["guard"] == [
        "ledger: its trigger ledger_append_only_delete does not refuse every DELETE"
    ]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TRIGGER {t}_append_only ON {t}", "its trigger is missing: the ledger can be changed"),
        ("ALTER TABLE {t} DISABLE TRIGGER {t}_append_only", "its trigger is disabled"),
        ("ALTER TABLE {t} ENABLE TRIGGER {t}_append_only", "its trigger is not enabled in replica mode"),
        ("DROP TABLE {t}", "the table is missing"),
    ],
)
def test_a_trigger_out_of_force_is_named_postgresql(
    postgresql_tx: Tx, table: str, statement: str, said: str
) -> None:
    change(postgresql_tx, statement.format(t=table))
    assert next(f.what for f in guard(postgresql_tx, lambda more: None)) == f"{table}: {said}"


def test_a_trigger_that_refuses_nothing_is_named_postgresql(postgresql_tx: Tx) -> None:
    change(
        postgresql_tx,
        "CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    )
    assert found(postgresql_tx)["guard"] == [
        f"{table}: its trigger runs ledger_is_append_only(), which does not refuse" for table in TABLES
    ]
    change(postgresql_tx, "DROP TRIGGER seal_append_only ON seal")
    change(
        postgresql_tx,
        "CREATE TRIGGER seal_append_only BEFORE UPDATE ON seal FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()",
    )
    change(postgresql_tx, "ALTER TABLE seal ENABLE ALWAYS TRIGGER seal_append_only")
    said = "seal: its trigger does not stand before UPDATE, DELETE and TRUNCATE"
    assert said in found(postgresql_tx)["guard"]


def test_a_trigger_that_lets_some_changes_pass_is_named_sqlite(sqlite_tx: Tx) -> None:
    change(sqlite_tx, "DROP TRIGGER ledger_append_only_replace")
    change(
        sqlite_tx,
        "CREATE TRIGGER ledger_append_only_replace BEFORE INSERT ON ledger WHEN 0 BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    assert found(sqlite_tx)["guard"] == [
        "ledger: its trigger ledger_append_only_replace does not refuse every INSERT"
    ]


@pytest.mark.parametrize(
    ("before", "when"),
    [("UPDATE OR DELETE OR TRUNCATE", "WHEN (false)"), ("UPDATE OF xid OR DELETE OR TRUNCATE", "")],
)
def test_a_trigger_that_lets_some_changes_pass_is_named_postgresql(
    postgresql_tx: Tx, before: str, when: str
) -> None:
    change(postgresql_tx, "DROP TRIGGER ledger_append_only ON ledger")
    change(
        postgresql_tx,
        f"CREATE TRIGGER ledger_append_only BEFORE {before} ON ledger FOR EACH STATEMENT {when} "
        "EXECUTE FUNCTION ledger_is_append_only()",
    )
    change(postgresql_tx, "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_append_only")
    said = "ledger: its trigger stands before some changes only: it has a condition or a list of columns"
    assert found(postgresql_tx)["guard"] == [said]


DROPS = "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"


@pytest.mark.parametrize("table", ["ledger", "address", "pool"])
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE {t} SET UNLOGGED", "it is unlogged: a crash empties it"),
        ("ALTER TABLE {t} ENABLE ROW LEVEL SECURITY", "row level security may hide its rows"),
        ("CREATE RULE r AS ON INSERT TO {t} DO INSTEAD NOTHING", "rule r may change what is written"),
        ("CREATE TABLE more () INHERITS ({t})", "more inherits from it: its rows are read as well"),
        (
            DROPS + "; CREATE TRIGGER drops BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION drops()",
            "trigger drops may change what is written, and is not ours",
        ),
        (
            "CREATE SCHEMA s; CREATE TABLE s.{t} (LIKE public.{t} INCLUDING ALL); SET LOCAL search_path = public, s",
            "there is another of that name: s.{t}",
        ),
    ],
)
def test_what_changes_what_is_written_or_read_is_named_postgresql(
    postgresql_tx: Tx, table: str, statement: str, said: str
) -> None:
    change(postgresql_tx, statement.format(t=table).replace("%", "%%"))
    assert found(postgresql_tx)["guard"] == [f"{table}: {said.format(t=table)}"]


@pytest.mark.parametrize("table", ["ledger", "address", "pool"])
def test_what_changes_what_is_written_or_read_is_named_sqlite(sqlite_tx: Tx, table: str) -> None:
    change(sqlite_tx, f"CREATE TRIGGER drops BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END")
    said = f"{table}: trigger drops may change what is written, and is not ours"
    assert found(sqlite_tx) == {"guard": [said]}


@pytest.mark.parametrize(
    "index", ["ledger_stream_key", "ledger_pool_stream_key", "address_owner_key", "address_attachment_key"]
)
def test_a_lost_unique_index_is_named(tx: Tx, index: str) -> None:
    change(tx, f"DROP INDEX {index}")
    assert found(tx) == {"guard": [f"{index}: it is missing"]}


@pytest.mark.parametrize(
    ("index", "on"),
    [
        ("ledger_stream_key", "ledger (pool_id, ip, version, seq)"),
        ("ledger_pool_stream_key", "ledger (pool_id, version) WHERE ip IS NULL AND version > 7"),
        ("address_owner_key", "address (owner, if_name, pool_id, family) WHERE state = 'held' AND owner IS NOT NULL"),
        ("address_attachment_key", "address (container_id, if_name, network, pool_id, family) WHERE state = 'allocated'"),
    ],
)  # fmt: skip
def test_another_index_of_that_name_is_named(tx: Tx, index: str, on: str) -> None:
    change(tx, f"DROP INDEX {index}")
    change(tx, f"CREATE UNIQUE INDEX {index} ON {on}")
    (what,) = found(tx)["guard"]
    shown = on.replace("(", "").replace(")", "")
    assert what.startswith(f"{index}: it is another: ") and (shown in what or not tx.sqlite), what


@pytest.mark.parametrize(
    ("table", "key"),
    [("address", "address_pk"), ("pool", "pool_name_key"), ("ledger", "ledger_pk"), ("seal", "seal_pk")],
)
def test_a_lost_key_is_named(tx: Tx, table: str, key: str) -> None:
    if tx.sqlite:  # which drops no constraint of a table that stays
        change(tx, f"CREATE TABLE other AS SELECT * FROM {table}")
        change(tx, f"DROP TABLE {table}")
        change(tx, f"ALTER TABLE other RENAME TO {table}")
    else:
        change(tx, f"ALTER TABLE {table} DROP CONSTRAINT {key}")
    assert f"{key}: it is missing" in found(tx)["guard"]


def test_a_lost_check_is_named(tx: Tx) -> None:
    if tx.sqlite:  # which drops no constraint of a table that stays
        change(tx, "CREATE TABLE other (first, count, min_seq, max_seq, seqs, hashes, xid, seq)")
        change(tx, "DROP TABLE seal")
        change(tx, "ALTER TABLE other RENAME TO seal")
    else:
        change(tx, "ALTER TABLE seal DROP CONSTRAINT seal_tile_check")
    assert "seal_tile_check: it is missing" in found(tx)["guard"]
