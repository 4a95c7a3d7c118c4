"""Rule 5: a pod that comes back has the address that it had last, if nobody else took it."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_it_has_it_again(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        DEL c2                       -> 10.9.0.2 free
        DEL c1                       -> 10.9.0.1 free
        ADD ns/b c3                  -> 10.9.0.2 returning
        ADD ns/a c4                  -> 10.9.0.1 returning
    """)


def test_it_has_another_if_it_was_taken_meanwhile(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
        ADD ns/b c2                  -> 10.9.0.1 lowest
        ADD ns/a c3                  -> 10.9.0.2 lowest
        DEL c2                       -> 10.9.0.1 free
        DEL c3                       -> 10.9.0.2 free
        ADD ns/a c4                  -> 10.9.0.2 returning
    """)


def test_of_several_that_it_had_it_has_the_last(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 ip=10.9.0.5      -> 10.9.0.5 requested
        DEL c1                       -> 10.9.0.5 free
        ADD ns/a c2 ip=10.9.0.3      -> 10.9.0.3 requested
        DEL c2                       -> 10.9.0.3 free
        ADD ns/a c3                  -> 10.9.0.3 returning
        TAKE 10.9.0.3                -> 10.9.0.3 free
        ADD ns/a c4 ip=10.9.0.5      -> 10.9.0.5 requested
        DEL c4                       -> 10.9.0.5 free
        ADD ns/a c5                  -> 10.9.0.5 returning
    """)


def test_what_is_cooling_or_held_is_kept_for_it(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24", cooldownSeconds=3600)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        DEL c1                       -> 10.9.0.1 cooling
        DEL c2                       -> 10.9.0.2 cooling
        HOLD 10.9.0.2                -> 10.9.0.2 held
        ADD ns/c c3                  -> PoolExhausted IPv4: capacity 2, allocated 0, held 1, cooling 1, asked 0
        ADD ns/a c4                  -> 10.9.0.1 returning
        ADD ns/b c5                  -> 10.9.0.2 returning
    """)


def test_each_interface_comes_back_to_its_own(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 if=eth0          -> 10.9.0.1 lowest
        ADD ns/a c1 if=net1          -> 10.9.0.2 lowest
        DEL c1 if=net1               -> 10.9.0.2 free
        DEL c1 if=eth0               -> 10.9.0.1 free
        ADD ns/a c2 if=net1          -> 10.9.0.2 returning
        ADD ns/a c2 if=eth0          -> 10.9.0.1 returning
    """)


def test_not_to_one_that_left_the_pool(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 ip=10.9.0.9      -> 10.9.0.9 requested
        DEL c1                       -> 10.9.0.9 free
    """)
    page.pool("10.9.0.1-10.9.0.8/24")
    page.tell("""
        ADD ns/x c8                  -> 10.9.0.1 lowest
        ADD ns/a c2                  -> 10.9.0.2 lowest
        DEL c2                       -> 10.9.0.2 free
    """)
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/b c3 ip=10.9.0.9   -> 10.9.0.9 requested")


def test_not_to_one_that_is_reserved_for_another_now(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
    """)
    page.pool("10.9.0.1-10.9.0.9/24", staticReservations={"ns": {"b": "10.9.0.1"}})
    page.tell("""
        ADD ns/x c8                  -> 10.9.0.2 lowest
        ADD ns/a c2                  -> 10.9.0.3 lowest
    """)


def test_after_a_reclaim_too(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        TAKE 10.9.0.1                -> 10.9.0.1 free
        ADD ns/a c2                  -> 10.9.0.1 returning
        DEL c1                       -> nothing
    """)
