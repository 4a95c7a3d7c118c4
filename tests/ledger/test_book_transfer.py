"""Reclaim, hold and free: one address, only if it is still as it was seen, and only where the change makes sense."""

from __future__ import annotations

from datetime import UTC, datetime

from ledger.events import Kind
from tests.ledger.pages import Page


def test_each_is_fenced_by_the_version_that_was_seen(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/a c2                  -> 10.9.0.1 reassigned
        TAKE 10.9.0.1 at=1           -> nothing
        HOLD 10.9.0.1 at=1           -> nothing
        FREE 10.9.0.1 at=1           -> nothing
        IS 10.9.0.1                  -> allocated ns/a 2
        TAKE 10.9.0.1 at=2           -> 10.9.0.1 free
        TAKE 10.9.0.1 at=2           -> nothing
    """)


def test_a_held_address_waits_for_its_owner(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/web-0 c1              -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
        HOLD 10.9.0.1                -> 10.9.0.1 held
        ADD ns/x c2                  -> 10.9.0.2 lowest
        ADD ns/y c3                  -> PoolExhausted IPv4: capacity 2, allocated 1, held 1, cooling 0, asked 1
        SWEEP                        -> nothing
        ADD ns/web-0 c4              -> 10.9.0.1 returning
        HOLD 10.9.0.1                -> 10.9.0.1 held
        DEL c4                       -> nothing
        FREE 10.9.0.1                -> 10.9.0.1 free
        ADD ns/y c5                  -> 10.9.0.1 lowest
    """)


def test_one_address_of_two_pools_is_swept_once_in_each(page: Page) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    for name in ("p", "q"):
        page.pool("10.9.0.1-10.9.0.2/24", name=name, addressSpace=page.mark + name)
        page.tell(f"ADD ns/a c1 pool={name}  -> 10.9.0.1 lowest")
        assert page.book.transfer(
            page.mark + name, "10.9.0.1", 1, Kind.HELD, reason="a while", until=long_ago
        )
    page.tell("SWEEP                     -> 10.9.0.1 free, 10.9.0.1 free")


def test_a_hold_may_have_an_end_and_a_new_one(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/a c1 uid=u node=n1    -> 10.9.0.1 lowest
        HOLD 10.9.0.1 for=3600       -> 10.9.0.1 held
        SWEEP                        -> nothing
        HOLD 10.9.0.1 for=-1         -> 10.9.0.1 held
        SWEEP                        -> 10.9.0.1 free
    """)


def test_what_makes_no_sense_is_refused_and_changes_nothing(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", cooldownSeconds=3600)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        FREE 10.9.0.1                -> InvalidRequest
        IS 10.9.0.1                  -> allocated ns/a 1
        HOLD 10.9.0.5                -> InvalidRequest
        TAKE 10.9.0.5                -> InvalidRequest
        FREE 10.9.0.5                -> InvalidRequest
        IS 10.9.0.5                  -> free - 0
        DEL c1                       -> 10.9.0.1 cooling
        TAKE 10.9.0.1                -> InvalidRequest
        FREE 10.9.0.1                -> 10.9.0.1 free
        FREE 10.9.0.1                -> InvalidRequest
        HOLD nonsense at=1           -> InvalidRequest
        HOLD 10.9.9.9 at=1           -> nothing
    """)
