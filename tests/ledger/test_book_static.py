"""Rule 3: a pod with a static reservation gets that address and no other; nobody else ever does."""

from __future__ import annotations

from tests.ledger.pages import Page

STATIC = {"ns": {"db": "10.9.0.1"}}


def test_the_pod_gets_it_every_time(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24", staticReservations=STATIC)
    page.tell("""
        ADD ns/db c1                 -> 10.9.0.1 static
        ADD ns/db c1                 -> 10.9.0.1 again
        ADD ns/db c2                 -> 10.9.0.1 reassigned
        DEL c2                       -> 10.9.0.1 free
        ADD ns/db c3                 -> 10.9.0.1 static
    """)


def test_nobody_else_does_not_even_of_a_full_pool(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24", staticReservations=STATIC)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.2 lowest
        ADD other/db c2              -> 10.9.0.3 lowest
        ADD ns/b c3                  -> PoolExhausted IPv4: capacity 3, allocated 2, held 0, cooling 0, asked 2
        ADD ns/b c3 ip=10.9.0.1      -> AddressReserved 10.9.0.1
        ADD - box ip=10.9.0.1        -> AddressReserved 10.9.0.1
        ADD ns/db c4                 -> 10.9.0.1 static
    """)


def test_it_wins_over_an_address_asked_for(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24", staticReservations=STATIC)
    page.tell("""
        ADD ns/db c1 ip=10.9.0.3     -> 10.9.0.1 static
        ADD ns/db c1 ip=10.9.0.1     -> 10.9.0.1 again
    """)


def test_an_address_in_use_by_another_is_not_taken_from_it(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool("10.9.0.1-10.9.0.3/24", staticReservations=STATIC)
    page.tell("""
        ADD ns/db c2                 -> AddressTaken 10.9.0.1 allocated ns/a
        ADD ns/a c1                  -> 10.9.0.1 again
        DEL c1                       -> 10.9.0.1 free
        ADD ns/a c3                  -> 10.9.0.2 lowest
        ADD ns/db c2                 -> 10.9.0.1 static
    """)


def test_it_is_not_taken_back_for_a_full_pool_nor_asked_about(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24", staticReservations=STATIC)
    page.tell("""
        ADD ns/db c1                 -> 10.9.0.1 static
        ADD ns/a c2                  -> 10.9.0.2 lowest
    """)
    page.evidence.pods = {"ns/db"}
    page.tell(
        "ADD ns/b c3               -> PoolExhausted IPv4: capacity 2, allocated 2, held 0, cooling 0, asked 1"
    )
    assert page.evidence.asked == ["ns/a"]


def test_one_that_is_lifted_puts_the_address_among_the_free_ones(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24", staticReservations=STATIC)
    page.tell("ADD ns/a c1               -> 10.9.0.2 lowest")
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("ADD ns/b c2               -> 10.9.0.1 lowest")


def test_a_pod_that_had_another_address_moves_to_its_own(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell("""
        ADD ns/db c1 ip=10.9.0.2     -> 10.9.0.2 requested
        DEL c1                       -> 10.9.0.2 free
    """)
    page.pool("10.9.0.1-10.9.0.3/24", staticReservations=STATIC)
    page.tell("ADD ns/db c2              -> 10.9.0.1 static")


def test_one_for_each_family(page: Page) -> None:
    page.pool(
        "10.9.0.1-10.9.0.3/24",
        "fd00:9::1-fd00:9::9/64",
        staticReservations={"ns": {"db": "10.9.0.3,fd00:9::5"}},
    )
    page.tell("ADD ns/db c1              -> 10.9.0.3 static, fd00:9::5 static")


def test_one_family_fixed_the_other_picked(page: Page) -> None:
    page.pool(
        "10.9.0.1-10.9.0.3/24", "fd00:9::1-fd00:9::9/64", staticReservations={"ns": {"db": "fd00:9::5"}}
    )
    page.tell("ADD ns/db c1              -> 10.9.0.1 lowest, fd00:9::5 static")
