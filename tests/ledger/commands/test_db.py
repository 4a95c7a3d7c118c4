"""``db``: what a schema and its guard are said to be."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ledger.store import Database
from tests.ledger.cli import Cli


def test_db_upgrade_says_what_it_did(empty_db_url: str) -> None:
    cli = Cli(empty_db_url)
    assert "(was empty)" in cli("db", "upgrade").out
    assert "(was there already)" in cli("db", "upgrade").out
    found = cli("db", "upgrade", "-o", "json").json
    assert found["before"] == found["after"] and found["rolesSQL"] == []
    assert cli("pool", "list", "-o", "json").json == []


def test_db_upgrade_prints_the_roles_sql_that_it_may_not_run(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the SQL stands on stdout, so that it can be piped to somebody who may."""
    from ledger import migrate

    monkeypatch.setattr(migrate, "ensure", lambda database: ["CREATE ROLE a", "GRANT b TO a"])
    said = Cli(empty_postgres_url)("db", "upgrade")
    assert said.out == "CREATE ROLE a;\nGRANT b TO a;\n"
    assert "somebody who may runs" in said.err and "schema" in said.err


def test_db_upgrade_prints_the_migrations_and_changes_nothing(empty_sqlite_url: str, tmp_path: Path) -> None:
    said = Cli(empty_sqlite_url)("db", "upgrade", "--sql")
    assert "CREATE TABLE ledger" in said.out and "CREATE TRIGGER ledger_append_only" in said.out
    assert list(tmp_path.iterdir()) == []


def test_db_check_says_where_schema_and_guard_stand(empty_db_url: str) -> None:
    cli = Cli(empty_db_url)
    missing = cli("db", "check", "-o", "json", status=1).json
    assert not missing["ok"] and "yet" in missing["checks"][0]["stands"]
    cli("db", "upgrade")
    said = cli("db", "check", "-o", "json").json
    assert said["ok"]
    names = [row["what"] for row in said["checks"]]
    assert names[:6] == [
        "schema",
        *(f"append-only {t}" for t in ("ledger", "seal", "seal_node", "checkpoint", "fence")),
    ]
    database = Database(cli.url)
    with database.begin() as tx:
        trigger = "ledger_append_only_update" if tx.sqlite else "ledger_append_only ON ledger"
        tx.connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    database.close()
    broken = cli("db", "check", status=1).out
    assert "the ledger can be changed" in broken and "4 in force" in broken  # the others in one row
    assert [row["ok"] for row in cli("db", "check", "-o", "csv", status=1).csv].count("false") == 1


@pytest.mark.parametrize(
    ("table", "question"), [("address", "pool list"), ("ledger", "tail"), ("pool", "pool list")]
)
def test_a_table_that_is_missing_is_named_and_not_to_be_upgraded(
    db_url: str, table: str, question: str
) -> None:
    cli = Cli(db_url)
    drop(db_url, f"TABLE {table}")
    assert f"index {table}_pk" in cli("db", "check", status=1).out
    assert f"{table}_pk: it is missing" in cli("verify", status=1).out
    assert "`ipam-ledger db check`, which names what is missing" in cli(*question.split(), status=1).err


def test_an_index_for_looking_up_may_be_missing_from_a_ledger_that_holds(db_url: str) -> None:
    cli = Cli(db_url)
    drop(db_url, "INDEX ledger_pod_idx")
    wrong = [
        row["what"] for row in cli("db", "check", "-o", "json", status=1).json["checks"] if not row["ok"]
    ]
    assert wrong == ["index ledger_pod_idx"]
    cli("verify")


def drop(url: str, what: str) -> None:
    with closing(Database(url)) as database, database.begin() as tx:
        tx.connection.exec_driver_sql(f"DROP {what}")


def test_db_check_says_what_this_user_may(postgres_url: str, writer_url: str) -> None:
    assert "this user has UPDATE, DELETE, TRUNCATE on the ledger" in Cli(postgres_url)("db", "check").out
    assert "this user can neither change nor remove an event" in Cli(writer_url)("db", "check").out


def test_a_schema_of_tomorrow_is_named(cli: Cli) -> None:
    database = Database(cli.url)
    with database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "9999, newer than this program's" in cli("db", "check", status=1).out
    assert "newer than this program's" in cli("pool", "list", status=1).err
    assert "upgrade ipam-ledger instead" in cli("db", "upgrade", status=1).err
