"""Rule 7: on a full pool owners are asked about, each once, and the first that has ended gives up its address."""

from __future__ import annotations

import time

import pytest

from ledger.errors import LockTimeout, PoolExhausted
from ledger.evidence import NeverGone
from ledger.settings import BookSettings
from ledger.store import Database, rows
from tests.ledger.pages import Page

FULL = """
    ADD ns/a c1                  -> 10.9.0.1 lowest
    ADD ns/b c2                  -> 10.9.0.2 lowest
    ADD ns/c c3                  -> 10.9.0.3 lowest
"""


def test_who_has_ended_gives_up_its_address(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell(FULL)
    page.evidence.pods = {"ns/b"}
    page.tell("""
        ADD ns/d c4                  -> 10.9.0.2 lowest
        DEL c2                       -> nothing
    """)
    assert page.ledger("10.9.0.2") == (
        "1 Allocated allocated ns/b c2 lowest\n"
        "2 Reclaimed free ns/b c2 ns/b is gone\n"
        "3 Allocated allocated ns/d c4 lowest"
    )


def test_without_evidence_the_answer_is_the_figures_at_once_and_nothing_changed(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell(FULL)
    page.tell(
        "ADD ns/d c4               -> PoolExhausted IPv4: capacity 3, allocated 3, held 0, cooling 0, asked 3"
    )
    assert sorted(page.evidence.asked) == ["ns/a", "ns/b", "ns/c"], "each is asked about once"
    assert page.ledger("10.9.0.2") == "1 Allocated allocated ns/b c2 lowest"


def test_no_owner_is_asked_about_while_something_is_free(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.4/24")
    page.evidence.pods = {"ns/a"}
    page.tell(FULL)
    page.tell("ADD ns/d c4               -> 10.9.0.4 lowest")
    assert page.evidence.asked == []


def test_an_address_in_others_hands_may_come_back_so_the_pool_is_not_full(postgresql_road: Database) -> None:
    page = Page(postgresql_road, settings=BookSettings(attempts=2))
    page.pool("10.9.0.1-10.9.0.4/24")
    page.tell(FULL)
    page.evidence.pods = {"ns/a"}
    with postgresql_road.begin() as tx:
        pool = rows.find_pool(tx, page.mark + "p")
        assert pool and rows.pick_free(tx, pool.id, 0, -1)
        with pytest.raises(LockTimeout, match="try again"):
            page.book.allocate(page.claim("ns/d", "c4"))
    assert page.evidence.asked == []
    page.tell("ADD ns/d c4               -> 10.9.0.4 lowest")


def test_one_that_changed_since_it_was_asked_about_is_left_alone(page: Page) -> None:
    """ns/b is relaunched at the very moment when it is asked about: what was said about its old sandbox says nothing."""
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell(FULL)
    page.evidence.pods = {"ns/b"}
    plain = page.evidence.ended

    def ended(holder):  # type: ignore[no-untyped-def]
        why = plain(holder)
        if why:
            page.tell("ADD ns/b c9       -> 10.9.0.2 reassigned")
        return why

    page.evidence.ended = ended  # type: ignore[method-assign]
    page.tell(
        "ADD ns/d c4               -> PoolExhausted IPv4: capacity 3, allocated 3, held 0, cooling 0, asked 3"
    )
    page.tell("IS 10.9.0.2               -> allocated ns/b 2")


def test_the_order_of_asking_is_random(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    for number in range(9):
        page.book.allocate(page.claim(f"ns/p{number}", f"c{number}"))
    orders = set()
    for _ in range(3):
        page.evidence.asked.clear()
        with pytest.raises(PoolExhausted):
            page.book.allocate(page.claim("ns/late", "late"))
        assert len(page.evidence.asked) == 9
        orders.add(tuple(page.evidence.asked))
    assert len(orders) > 1


def test_asking_ends_at_its_deadline(sqlite_road: Database) -> None:
    page = Page(sqlite_road, settings=BookSettings(reclaim_deadline=0.3))
    page.pool("10.9.0.0/24")
    for number in range(254):
        page.book.allocate(page.claim(f"ns/p{number}", f"c{number}"))

    def slow(holder):  # type: ignore[no-untyped-def]
        time.sleep(0.1)

    page.evidence.ended = slow  # type: ignore[method-assign]
    before = time.monotonic()
    with pytest.raises(PoolExhausted) as full:
        page.book.allocate(page.claim("ns/late", "late"))
    assert time.monotonic() - before < 15, "all of them would take 25 seconds"
    assert 0 < full.value.asked < 10


def test_where_nobody_can_be_asked_nobody_is_counted_as_asked(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell(FULL)
    page.book._evidence = NeverGone()
    page.tell(
        "ADD ns/d c4               -> PoolExhausted IPv4: capacity 3, allocated 3, held 0, cooling 0, asked 0"
    )


def test_reclaim_gives_a_family_that_ran_out_and_leaves_the_other_alone(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::2/64")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest, fd00:9::1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest, fd00:9::2 lowest
        ADD ns/c c3                  -> PoolExhausted IPv6: capacity 2, allocated 2, held 0, cooling 0, asked 2
        IS 10.9.0.3                  -> free - 0
    """)
    page.evidence.pods = {"ns/a"}
    page.tell("""
        ADD ns/c c3                  -> 10.9.0.3 lowest, fd00:9::1 lowest
        IS 10.9.0.1                  -> allocated ns/a 1
    """)


def test_when_both_families_ran_out_both_are_reclaimed_or_none(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24", "fd00:9::1-fd00:9::2/64")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest, fd00:9::1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest, fd00:9::2 lowest
    """)
    page.evidence.pods = {"ns/a"}
    page.tell("ADD ns/c c3               -> 10.9.0.1 lowest, fd00:9::1 lowest")
    page.evidence.pods = set()
    page.tell("""
        ADD ns/d c4                  -> PoolExhausted IPv4: capacity 2, allocated 2, held 0, cooling 0, asked 2
        DEL c3                       -> 10.9.0.1 free, fd00:9::1 free
        ADD ns/e c5 ip=fd00:9::1     -> 10.9.0.1 lowest, fd00:9::1 requested
        IS 10.9.0.1                  -> allocated ns/e 5
    """)


def test_held_and_cooling_addresses_are_not_reclaimed(page: Page) -> None:
    """They wait for their own time, or for the owner's owner."""
    page.pool("10.9.0.1-10.9.0.3/24", cooldownSeconds=3600)
    page.tell(FULL)
    page.tell("""
        DEL c1                       -> 10.9.0.1 cooling
        HOLD 10.9.0.2                -> 10.9.0.2 held
    """)
    page.evidence.pods = {"ns/a", "ns/b"}
    page.tell(
        "ADD ns/d c4               -> PoolExhausted IPv4: capacity 3, allocated 1, held 1, cooling 1, asked 1"
    )
