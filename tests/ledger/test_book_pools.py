"""Pools come, change and go: each change is an event, what is in use is never dropped, and streams go on."""

from __future__ import annotations

import pytest

from ledger.errors import InvalidPool, PoolInUse, PoolOverlap, UnknownPool
from tests.ledger.pages import Page

TEN = "10.9.0.1-10.9.0.10/24"


def test_applying_the_same_again_is_no_event(page: Page) -> None:
    assert page.pool(TEN).action == "created"
    change = page.pool("10.9.0.1-10.9.0.10/24")
    assert (change.action, change.event) == ("unchanged", None)
    assert page.pool({"range": "10.9.0.1-10.9.0.10", "netmaskBits": 24}).action == "unchanged"
    assert page.pool(TEN, cooldownSeconds=5).action == "updated"
    assert page.ledger() == "1 PoolCreated\n2 PoolUpdated"


def test_it_grows_and_shrinks_around_what_is_in_use(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.3/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool("10.9.0.1-10.9.0.10/24")
    page.tell("ADD ns/b c2 ip=10.9.0.10  -> 10.9.0.10 requested")
    with pytest.raises(PoolInUse) as refused:
        page.pool("10.9.0.1-10.9.0.3/24")
    assert (refused.value.ip, refused.value.holder, refused.value.count) == ("10.9.0.10", "ns/b", 1)
    assert page.figures() == (10, 8, 2, 0, 0)
    page.tell("""
        ADD ns/b c2                  -> 10.9.0.10 again
        DEL c2                       -> 10.9.0.10 free
    """)
    page.pool("10.9.0.1-10.9.0.3/24")
    assert page.figures() == (3, 2, 1, 0, 0)
    page.tell("""
        ADD ns/c c3 ip=10.9.0.10     -> AddressOutsidePool 10.9.0.10
        ADD ns/c c3                  -> 10.9.0.2 lowest
        ADD ns/d c4                  -> 10.9.0.3 lowest
        ADD ns/e c5                  -> PoolExhausted IPv4: capacity 3, allocated 3, held 0, cooling 0, asked 3
    """)


def test_a_held_address_is_in_use(page: Page) -> None:
    page.pool(TEN)
    page.tell("""
        ADD ns/web-0 c1              -> 10.9.0.1 lowest
        HOLD 10.9.0.1                -> 10.9.0.1 held
    """)
    with pytest.raises(PoolInUse):
        page.pool("10.9.0.2-10.9.0.10/24")
    with pytest.raises(PoolInUse):
        page.drop()
    page.tell("ADD ns/web-0 c2           -> 10.9.0.1 returning")


def test_several_in_use_are_counted_and_the_lowest_is_named(page: Page) -> None:
    page.pool(TEN)
    page.tell("""
        ADD ns/a c1 ip=10.9.0.10     -> 10.9.0.10 requested
        ADD ns/b c2 ip=10.9.0.9      -> 10.9.0.9 requested
        ADD ns/c c3 ip=10.9.0.2      -> 10.9.0.2 requested
    """)
    with pytest.raises(PoolInUse, match=r"10\.9\.0\.9 and 1 more: in use by ns/b"):
        page.pool("10.9.0.1-10.9.0.8/24")


def test_an_address_that_becomes_reserved_or_the_gateway_is_dropped_like_any_other(page: Page) -> None:
    page.pool(TEN)
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    with pytest.raises(PoolInUse):
        page.pool({"range": TEN, "reservedRanges": ["10.9.0.1-10.9.0.5"]})
    with pytest.raises(PoolInUse):
        page.pool({"range": TEN, "gateway": "10.9.0.1"})
    page.pool({"range": TEN, "gateway": "10.9.0.2", "reservedRanges": ["10.9.0.3-10.9.0.5"]})
    page.tell("ADD ns/b c2               -> 10.9.0.6 lowest")
    page.pool(TEN)
    page.tell("ADD ns/c c3               -> 10.9.0.2 lowest")


def test_subs_that_change_places_keep_their_addresses(page: Page) -> None:
    one, two = "10.9.1.1-10.9.1.3/24", "10.9.2.1-10.9.2.3/24"
    page.pool(one, two)
    page.tell("ADD ns/a c1               -> 10.9.1.1 lowest")
    page.pool("10.9.0.1-10.9.0.1/24", two, one)
    page.tell("""
        ADD ns/a c1                  -> 10.9.1.1 again
        ADD ns/b c2                  -> 10.9.0.1 lowest
        ADD ns/c c3                  -> 10.9.2.1 lowest
        ADD ns/d c4                  -> 10.9.2.2 lowest
        ADD ns/e c5                  -> 10.9.2.3 lowest
        ADD ns/f c6                  -> 10.9.1.2 lowest
        ADD ns/g c7                  -> 10.9.1.3 lowest
        ADD ns/h c8                  -> PoolExhausted IPv4: capacity 7, allocated 7, held 0, cooling 0, asked 7
    """)


def test_a_sub_that_is_cut_in_two(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.4/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool(
        {"range": "10.9.0.1-10.9.0.2/24", "nodeSelector": {"zone": "a"}},
        {"range": "10.9.0.3-10.9.0.4/24", "nodeSelector": {"zone": "b"}},
    )
    page.node("nb", zone="b")
    page.tell("""
        ADD ns/b c2 node=nb          -> 10.9.0.3 lowest
        ADD ns/c c3 node=nb          -> 10.9.0.4 lowest
        ADD ns/a c4 node=nb          -> 10.9.0.1 reassigned
    """)


def test_a_deleted_pool_gives_nothing_and_created_again_its_streams_go_on(page: Page) -> None:
    page.pool(TEN)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
    """)
    page.drop()
    page.tell("""
        ADD ns/a c2                  -> UnknownPool
        RELEASE 10.9.0.1             -> UnknownPool
    """)
    with pytest.raises(UnknownPool):
        page.drop()
    with pytest.raises(UnknownPool):
        page.figures()
    assert page.pool("10.9.0.1-10.9.0.2/24").action == "created"
    page.tell("""
        ADD ns/b c3                  -> 10.9.0.1 lowest
        ADD ns/a c4                  -> 10.9.0.2 lowest
        ADD ns/c c5                  -> PoolExhausted IPv4: capacity 2, allocated 2, held 0, cooling 0, asked 2
        IS 10.9.0.1                  -> allocated ns/b 3
    """)
    assert page.ledger() == "1 PoolCreated\n2 PoolDeleted\n3 PoolCreated"


def test_a_pool_created_again_gives_a_returning_pod_its_address(page: Page) -> None:
    page.pool(TEN)
    page.tell("""
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 requested
        DEL c1                       -> 10.9.0.7 free
    """)
    page.drop()
    page.pool(TEN)
    page.tell("ADD ns/a c2               -> 10.9.0.7 returning")


def test_a_pool_with_cooling_addresses_may_go_and_their_time_still_comes(patient_page: Page) -> None:
    page = patient_page
    page.pool(TEN, cooldownSeconds=1)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        DEL c1                       -> 10.9.0.1 cooling
        DEL c2                       -> 10.9.0.2 cooling
    """)
    page.pool("10.9.0.2-10.9.0.10/24", cooldownSeconds=1)
    assert page.figures() == (9, 8, 0, 0, 1), "only what is of the pool is counted"
    page.drop()
    page.tell("""
        WAIT 1.05
        SWEEP                        -> 10.9.0.1 free, 10.9.0.2 free
    """)
    page.pool(TEN)
    page.tell("ADD ns/c c3               -> 10.9.0.1 lowest")


def test_pools_of_one_address_space_may_not_overlap_those_of_different_ones_may(page: Page) -> None:
    page.pool(TEN)
    with pytest.raises(PoolOverlap) as refused:
        page.pool("10.9.0.10-10.9.0.20/24", name="q")
    assert (refused.value.ip, refused.value.other) == ("10.9.0.10", page.mark + "p")
    assert page.pool("10.9.0.10-10.9.0.20/24", name="q", addressSpace="elsewhere-" + page.mark + "x")
    page.tell("""
        ADD ns/a c1 pool=p ip=10.9.0.10 -> 10.9.0.10 requested
        ADD ns/b c2 pool=q              -> 10.9.0.10 lowest
    """)
    with pytest.raises(InvalidPool, match=r"spec\.addressSpace"):
        page.pool("10.9.0.10-10.9.0.20/24", name="q")


def test_a_deleted_pool_makes_room_for_another(page: Page) -> None:
    page.pool(TEN)
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
    """)
    page.drop()
    page.pool(TEN, name="q")
    page.tell("ADD ns/a c2 pool=q        -> 10.9.0.1 lowest")
    with pytest.raises(PoolOverlap):
        page.pool(TEN)


def test_another_book_sees_the_change_at_its_next_add(page: Page) -> None:
    """Books remember specs; one that another process changed is noticed."""
    page.pool(TEN)
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    other = Page(page.database)
    other.mark, other.evidence = page.mark, page.evidence
    other.pool({"range": TEN, "reservedRanges": ["10.9.0.2-10.9.0.5"]})
    page.tell("""
        ADD ns/b c2                  -> 10.9.0.6 lowest
        ADD ns/c c3 ip=10.9.0.3      -> AddressReserved 10.9.0.3
    """)
    other.tell("""
        DEL c1                       -> 10.9.0.1 free
        DEL c2                       -> 10.9.0.6 free
    """)
    other.drop()
    page.tell("ADD ns/d c4               -> UnknownPool")


def test_the_figures_of_all_pools(page: Page) -> None:
    page.pool(TEN, cooldownSeconds=3600)
    page.pool("10.9.8.1-10.9.8.4/24", name="q")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/c c3                  -> 10.9.0.3 lowest
        DEL c2                       -> 10.9.0.2 cooling
        HOLD 10.9.0.3                -> 10.9.0.3 held
        ADD ns/d c4 pool=q           -> 10.9.8.1 lowest
    """)
    found = {each.spec.name: each for each in page.book.pools()}
    p, q = found[page.mark + "p"], found[page.mark + "q"]
    assert (p.capacity, p.free, p.allocated, p.held, p.cooling, p.utilization) == (10, 7, 1, 1, 1, 0.3)
    assert (q.capacity, q.free, q.allocated, q.held, q.cooling, q.utilization) == (4, 3, 1, 0, 0, 0.25)
    assert page.book.pool(page.mark + "p") == p
