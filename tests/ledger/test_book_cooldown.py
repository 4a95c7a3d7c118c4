"""``cooldownSeconds``: a released address is kept from other owners so long, then a sweep or an ADD in need frees it."""

from __future__ import annotations

import time
from datetime import timedelta

from ledger.book import Book
from tests.ledger.pages import Page


def test_it_cools_after_a_del_a_gc_a_reclaim_and_a_release_by_hand(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.4/24", cooldownSeconds=3600)
    page.tell("""
        ADD ns/a c1 node=n1          -> 10.9.0.1 lowest
        ADD ns/b c2 node=n2          -> 10.9.0.2 lowest
        ADD ns/c c3 node=n3          -> 10.9.0.3 lowest
        ADD ns/d c4 node=n4          -> 10.9.0.4 lowest
        DEL c1                       -> 10.9.0.1 cooling
        GC n2                        -> 10.9.0.2 cooling
        TAKE 10.9.0.3                -> 10.9.0.3 cooling
        RELEASE 10.9.0.4             -> 10.9.0.4 cooling
        SWEEP                        -> nothing
        ADD ns/e c5                  -> PoolExhausted IPv4: capacity 4, allocated 0, held 0, cooling 4, asked 0
        RELEASE 10.9.0.4             -> NotHeld
    """)
    assert page.figures() == (4, 0, 0, 0, 4)


def test_its_time_comes_and_a_sweep_frees_it(patient_page: Page) -> None:
    page = patient_page
    page.pool("10.9.0.1-10.9.0.4/24", cooldownSeconds=1)
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    [released] = page.book.release(page.attachment("c1"))
    assert released.until == released.at + timedelta(seconds=1)
    page.tell("ADD ns/b c2               -> 10.9.0.2 lowest")
    deadline = time.monotonic() + 30
    while not (swept := [event for event in page.book.sweep() if event.pool.startswith(page.mark)]):
        assert time.monotonic() < deadline, "its time never comes"
        time.sleep(0.02)
    [freed] = swept
    assert freed.ip == "10.9.0.1"
    assert freed.at >= released.until, "before its time"
    page.tell("""
        SWEEP                        -> nothing
        ADD ns/c c3                  -> 10.9.0.1 lowest
    """)
    assert [line.split()[:3] for line in page.ledger("10.9.0.1").splitlines()] == [
        ["1", "Allocated", "allocated"],
        ["2", "Released", "cooling"],
        ["3", "Freed", "free"],
        ["4", "Allocated", "allocated"],
    ]


def test_an_allocation_ends_it(patient_page: Page) -> None:
    page = patient_page
    page.pool("10.9.0.1-10.9.0.4/24", cooldownSeconds=1)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 cooling
        ADD ns/a c2                  -> 10.9.0.1 returning
        WAIT 1.05
        SWEEP                        -> nothing
        IS 10.9.0.1                  -> allocated ns/a 3
    """)


def test_what_counts_is_the_cooldown_at_the_release(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.4/24", cooldownSeconds=3600)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        DEL c1                       -> 10.9.0.1 cooling
    """)
    page.pool("10.9.0.1-10.9.0.4/24")
    page.tell("""
        DEL c2                       -> 10.9.0.2 free
        IS 10.9.0.1                  -> cooling ns/a 2
        FREE 10.9.0.1                -> 10.9.0.1 free
    """)


def test_a_sweep_of_many_is_several_transactions(patient_page: Page) -> None:
    """More than one transaction's share, and each of them freed exactly once."""
    page = patient_page
    page.pool("10.9.0.0/21", cooldownSeconds=1)
    claims = [page.claim(f"ns/p{n}", f"c{n}") for n in range(1_200)]
    quick = Book(page.database, actor="test")
    quick.allocate_many(claims)
    quick.release_many([claim.attachment for claim in claims])
    page.tell("WAIT 1.05")
    freed = [event.ip for event in page.book.sweep() if event.pool.startswith(page.mark)]
    assert len(freed) == len(set(freed)) == 1_200
    assert page.figures()[1:] == (2_046, 0, 0, 0)
