"""What an administrator may have set for a database changes nothing in what is written and read."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from ledger import pools
from ledger.archive.writer import export
from ledger.book import Book
from ledger.errors import LockTimeout
from ledger.prove import prove
from ledger.seal import Sealer
from ledger.seal_checks import checks
from ledger.store import Database
from ledger.verify import CHECKS, verify
from tests.ledger.test_seal import KEY, POOL, claim, write
from tests.servers.postgres import PostgresServer

SETTINGS = {
    "client_encoding": "latin1",
    "datestyle": "SQL, DMY",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "intervalstyle": "sql_standard",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "timezone": "Asia/Kolkata",
    "transform_null_equals": "on",
}


@pytest.mark.parametrize("road", ["postgres_url", "pgbouncer_url"])
def test_settings_of_a_database_change_nothing(
    request: pytest.FixtureRequest, postgres: PostgresServer, postgres_url: str, road: str
) -> None:
    with postgres.connect() as admin:
        for name, value in SETTINGS.items():
            admin.execute(f"ALTER DATABASE {make_url(postgres_url).database} SET {name} = '{value}'")
    with closing(Database(request.getfixturevalue(road))) as database:
        database.require_head()
        for road_to_it in (database.begin, database.quick):
            with road_to_it() as tx:
                found = tx.connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
                assert found == "read committed"
        book = Book(database, actor="tést\\")
        book.apply_pool(pools.from_object(POOL), reason="für 'uns' \\n")
        write(book, 0, 300)
        book.release(claim(3).attachment)
        Sealer(database, key=KEY).seal()
        report = verify(database, (*CHECKS, *checks([KEY.verifier])))
        assert [finding.what for each in report.checked for finding in each.findings] == []
        event = prove(database, 1)["event"]
        assert (event["actor"], event["reason"]) == ("tést\\", "für 'uns' \\n")
        assert export(database, io.BytesIO()).events == 302


def test_a_statement_that_took_too_long_for_the_database_is_told_so(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with postgres.connect() as admin:
        admin.execute(f"ALTER DATABASE {make_url(postgres_url).database} SET statement_timeout = '300ms'")
    said = "ended a statement: .* due to statement timeout .has this database or user a statement_timeout"
    with closing(Database(postgres_url)) as database:
        with pytest.raises(LockTimeout, match=said), database.read() as tx:
            tx.connection.exec_driver_sql("SELECT pg_sleep(2)")
        with pytest.raises(LockTimeout, match=said), database.read() as tx:
            driver: Any = tx.connection.connection.driver_connection  # as exports and imports do
            driver.execute("SELECT pg_sleep(2)")
