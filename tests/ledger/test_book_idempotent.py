"""Rule 1: an attachment that holds an address of the pool gets the same answer again, and the ledger no event."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_a_repeated_add_is_the_same_answer_without_an_event(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/a c1                  -> 10.9.0.1 again
        ADD ns/a c1 node=n2          -> 10.9.0.1 again
        IS 10.9.0.1                  -> allocated ns/a 1
    """)


def test_it_comes_before_everything_else_that_is_asked(page: Page) -> None:
    """Also before a static reservation that came later, an address asked for, and a selector that now says no."""
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool(
        {"range": "10.9.0.1-10.9.0.9/24", "nodeSelector": {"zone": "b"}},
        staticReservations={"ns": {"a": "10.9.0.5"}},
    )
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 again
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.1 again
    """)


def test_it_holds_although_the_address_was_reserved_for_another_since(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1 ip=10.9.0.5   -> 10.9.0.5 requested")
    page.pool("10.9.0.1-10.9.0.9/24", staticReservations={"ns": {"b": "10.9.0.5"}})
    page.tell("""
        ADD ns/a c1 ip=10.9.0.5      -> 10.9.0.5 again
        ADD ns/a c2 ip=10.9.0.5      -> 10.9.0.5 reassigned
        ADD ns/b c3                  -> AddressTaken 10.9.0.5 allocated ns/a
        DEL c2                       -> 10.9.0.5 free
        ADD ns/a c4 ip=10.9.0.5      -> AddressReserved 10.9.0.5
        ADD ns/b c5                  -> 10.9.0.5 static
    """)


def test_another_interface_and_another_network_are_other_attachments(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 if=eth0          -> 10.9.0.1 lowest
        ADD ns/a c1 if=net1          -> 10.9.0.2 lowest
        ADD - box net=one            -> 10.9.0.3 lowest
        ADD - box net=one if=eth1    -> 10.9.0.4 lowest
        ADD ns/b c2 net=one          -> 10.9.0.5 lowest
        ADD ns/c c2 net=two          -> 10.9.0.6 lowest
        ADD ns/a c1 if=net1          -> 10.9.0.2 again
        DEL c1 if=net1 net=other     -> nothing
        DEL c1 if=net1               -> 10.9.0.2 free
        ADD ns/a c1                  -> 10.9.0.1 again
    """)


def test_what_it_holds_of_another_pool_is_no_answer(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.pool("10.9.0.1-10.9.0.9/24", name="q", addressSpace=f"{page.mark}other")
    page.tell("""
        ADD ns/a c1 uid=u            -> 10.9.0.1 lowest
        ADD ns/b c2 pool=q           -> 10.9.0.1 lowest
        ADD ns/a c1 uid=u pool=q     -> 10.9.0.2 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/a c1                  -> 10.9.0.1 again
        ADD ns/a c1 pool=q           -> 10.9.0.2 again
        DEL c1                       -> 10.9.0.1 free, 10.9.0.2 free
        ADD ns/c c3 ip=10.9.0.3      -> 10.9.0.3 requested
        ADD ns/c c3 ip=10.9.0.3 pool=q -> 10.9.0.3 requested
        DEL c3                       -> 10.9.0.3 free, 10.9.0.3 free
    """)


def test_a_container_that_is_not_a_pod_holds_as_well(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD - box1                   -> 10.9.0.1 lowest
        ADD - box2                   -> 10.9.0.2 lowest
        ADD - box1                   -> 10.9.0.1 again
        DEL box1                     -> 10.9.0.1 free
        ADD - box1                   -> 10.9.0.1 returning
        IS 10.9.0.1                  -> allocated box1 3
    """)
