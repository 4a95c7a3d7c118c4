"""The writer role is enough for everything that a book, the sealer and the fence do: nobody need run as the owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy.engine import make_url

from ledger.store import Database
from tests.laws import crowd
from tests.ledger.pages import Page
from tests.servers.postgres import WRITER, PostgresServer


@pytest.fixture(params=[False, True], ids=["at once", "step by step"])
def page(request: pytest.FixtureRequest, writer_url: str) -> Iterator[Page]:
    with closing(Database(writer_url)) as database:
        yield Page(database, steps=request.param)


def test_a_book_as_the_writer(page: Page) -> None:
    """Pools made, changed and deleted; every way to get an address and to lose one."""
    assert page.pool("10.9.0.1-10.9.0.3/24", cooldownSeconds=3600).action == "created"
    page.tell("""
        ADD ns/a c1             -> 10.9.0.1 lowest
        ADD ns/a c2             -> 10.9.0.1 reassigned
        DEL c1                  -> nothing
        DEL c2                  -> 10.9.0.1 cooling
        ADD ns/a c3             -> 10.9.0.1 returning
        ADD ns/b c4 ip=10.9.0.3 -> 10.9.0.3 requested
        ADOPT ns/c c5 10.9.0.2  -> 10.9.0.2 allocated
        HOLD 10.9.0.2 for=-1    -> 10.9.0.2 held
        SWEEP                   -> 10.9.0.2 free
        ADD ns/c c6             -> 10.9.0.2 returning
    """)
    page.evidence.pods = {"ns/b"}
    assert page.pool("10.9.0.1-10.9.0.3/24").action == "updated"
    page.tell("""
        ADD ns/d c7             -> 10.9.0.3 lowest
        TAKE 10.9.0.1           -> 10.9.0.1 free
        GC - keep=c7            -> nothing
        RELEASE 10.9.0.2        -> 10.9.0.2 free
        DEL c7                  -> 10.9.0.3 free
    """)
    assert page.drop().kind.value == "PoolDeleted"
    assert page.pool("10.0.0.0/8", name="large").action == "created"  # in chunks: it will grow
    assert crowd.proved(page.database) == []


def test_a_copy_puts_nothing_in_the_place_of_an_event(
    postgres: PostgresServer, page: Page, postgres_url: str
) -> None:
    """COPY only adds; what it adds may not have the position, nor the address and version, of what is there."""
    page.pool("10.9.0.0/24")
    page.tell("ADD ns/a c1 -> 10.9.0.1 lowest")
    columns = "xid, at, pool_id, ip, version, kind, state, reason"
    with postgres.connect(str(make_url(postgres_url).database), user=WRITER) as db:
        row = db.execute(f"SELECT seq, {columns} FROM ledger WHERE ip IS NOT NULL").fetchone()
        assert row is not None
        for names, values in (
            (columns, row[1:]),
            (f"seq, {columns}", (row[0], *row[1:4], "10.9.0.77", *row[5:])),
        ):
            with (
                pytest.raises(psycopg.errors.UniqueViolation, match=r"ledger_stream_key|ledger_pk"),
                db.cursor().copy(f"COPY ledger ({names}) FROM STDIN") as copy,
            ):
                copy.write_row(values)
        assert db.execute("SELECT count(*) FROM ledger").fetchone() == (2,)
    assert crowd.proved(page.database) == []
