"""Behind PgBouncer in transaction mode a book does all that it does without: no statement of it needs a session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger.store import Database
from tests.laws import laws
from tests.ledger.pages import Page


@pytest.mark.parametrize("steps", [False, True], ids=["quick", "steps"])
def test_every_verb(pgbouncer_road: Database, steps: bool) -> None:
    page = Page(pgbouncer_road, steps=steps)
    page.pool("10.9.0.1-10.9.0.3/24", "fd00:9::1-fd00:9::3/64", cooldownSeconds=3600)
    page.pool("10.9.8.0/24", name="q")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest, fd00:9::1 lowest
        ADD ns/a c1                  -> 10.9.0.1 again, fd00:9::1 again
        ADD ns/a c2                  -> 10.9.0.1 reassigned, fd00:9::1 reassigned
        DEL c1                       -> nothing
        DEL c2                       -> 10.9.0.1 cooling, fd00:9::1 cooling
        ADD ns/a c3                  -> 10.9.0.1 returning, fd00:9::1 returning
        ADD ns/b c4 ip=10.9.0.3      -> 10.9.0.3 requested, fd00:9::2 lowest
        ADD ns/c c5 node=n1          -> 10.9.0.2 lowest, fd00:9::3 lowest
        ADD ns/d c6                  -> PoolExhausted IPv4: capacity 3, allocated 3, held 0, cooling 0, asked 3
        ADD ns/d c6 pool=q           -> 10.9.8.1 lowest
        GC n1                        -> 10.9.0.2 cooling, fd00:9::3 cooling
        FREE 10.9.0.2                -> 10.9.0.2 free
        HOLD fd00:9::3 for=-1        -> fd00:9::3 held
        SWEEP                        -> fd00:9::3 free
        ADOPT ns/e c7 10.9.0.2       -> 10.9.0.2 allocated
        RELEASE 10.9.0.2             -> 10.9.0.2 cooling
    """)
    page.evidence.pods = {"ns/b"}
    page.tell("ADD ns/f c8               -> 10.9.0.3 lowest, fd00:9::3 lowest")
    assert laws.broken(page.database, page.mark + "%") == []


def test_a_crowd(pgbouncer_road: Database) -> None:
    """More threads than the pooler has sessions to give, on one book and on the steps beside it."""
    page, beside = Page(pgbouncer_road), Page(pgbouncer_road, steps=True)
    beside.mark = page.mark
    page.pool("10.9.0.0/24", pickStrategy="Random")

    def live(number: int) -> list[str]:
        book = (page, beside)[number % 2].book
        claims = [page.claim(f"ns/{number}-{n}", f"c{number}-{n}") for n in range(8)]
        got = [book.allocate(claim)[0].ip for claim in claims]
        for claim in claims[:4]:
            book.release(claim.attachment)
        return got[4:]

    with ThreadPoolExecutor(24) as threads:
        kept = [ip for each in threads.map(live, range(24)) for ip in each]
    assert len(kept) == len(set(kept)) == 96
    assert page.figures() == (254, 158, 96, 0, 0)
    assert laws.broken(page.database, page.mark + "%") == []
