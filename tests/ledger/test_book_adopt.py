"""Adopt: an address that an owner has already, which the ledger did not know of."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_it_is_recorded_once(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADOPT ns/a c1 10.9.0.5       -> 10.9.0.5 allocated
        ADOPT ns/a c1 10.9.0.5       -> nothing
        IS 10.9.0.5                  -> allocated ns/a 1
        ADD ns/a c1                  -> 10.9.0.5 again
        DEL c1                       -> 10.9.0.5 free
    """)
    assert page.ledger("10.9.0.5").splitlines()[0] == "1 Adopted allocated ns/a c1 None"


def test_another_owners_address_is_refused(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADOPT ns/b c2 10.9.0.1       -> AddressTaken 10.9.0.1 allocated ns/a
    """)


def test_a_second_address_for_one_owner_is_refused(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADOPT ns/a c2 10.9.0.5       -> OwnerHasAnother 10.9.0.5 ns/a
        ADOPT ns/b c1 10.9.0.5       -> OwnerHasAnother 10.9.0.5 ns/a
        IS 10.9.0.5                  -> free - 0
    """)


def test_one_that_is_held_cooling_or_static_may_be_adopted(page: Page) -> None:
    """The owner is known to have it; that weighs more than what the ledger kept it for."""
    page.pool("10.9.0.1-10.9.0.9/24", cooldownSeconds=3600, staticReservations={"ns": {"s": "10.9.0.9"}})
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 cooling
        ADOPT ns/a c2 10.9.0.1       -> 10.9.0.1 allocated
        ADOPT ns/s c3 10.9.0.9       -> 10.9.0.9 allocated
    """)


def test_what_the_pool_never_gives_is_refused(page: Page) -> None:
    page.pool({"range": "10.9.0.0-10.9.0.9/24", "gateway": "10.9.0.1"})
    page.tell("""
        ADOPT ns/a c1 10.9.0.1       -> AddressReserved 10.9.0.1
        ADOPT ns/a c1 10.9.1.1       -> AddressOutsidePool 10.9.1.1
        ADOPT ns/a c1 nonsense       -> InvalidRequest
        ADOPT ns/a c1 10.9.0.2 pool=none -> UnknownPool
    """)
