"""Rule 2: a pod of the same name takes over the address that it still holds, and the old sandbox's DEL is fenced off."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_a_relaunched_pod_has_its_address_at_once(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/a c1 uid=u1           -> 10.9.0.1 lowest
        ADD ns/a c2 uid=u2           -> 10.9.0.1 reassigned
        ADD ns/a c2 uid=u2           -> 10.9.0.1 again
    """)
    assert (
        page.ledger("10.9.0.1")
        == "1 Allocated allocated ns/a c1 lowest\n2 Allocated allocated ns/a c2 reassigned"
    )


def test_the_late_del_of_the_old_sandbox_leaves_the_new_one_alone(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/a c2                  -> 10.9.0.1 reassigned
        DEL c1                       -> nothing
        IS 10.9.0.1                  -> allocated ns/a 2
        DEL c2                       -> 10.9.0.1 free
        DEL c1                       -> nothing
    """)


def test_a_late_add_of_the_old_sandbox_is_a_relaunch_too(page: Page) -> None:
    """The ledger cannot know which sandbox is the older; the address stays with the pod, whoever asked last has it."""
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/a c2                  -> 10.9.0.1 reassigned
        ADD ns/a c1                  -> 10.9.0.1 reassigned
        DEL c2                       -> nothing
        DEL c1                       -> 10.9.0.1 free
    """)


def test_a_full_pool_does_not_keep_a_pod_from_its_own_address(page: Page) -> None:
    """A StatefulSet on a full range is not stuck (whereabouts#182)."""
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/a c3                  -> 10.9.0.1 reassigned
        ADD ns/b c4 node=elsewhere   -> 10.9.0.2 reassigned
    """)


def test_the_same_name_in_another_namespace_is_another_pod(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD other/a c2               -> 10.9.0.2 lowest
    """)


def test_it_comes_before_static_reservations_and_addresses_asked_for(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool("10.9.0.1-10.9.0.9/24", staticReservations={"ns": {"a": "10.9.0.5"}})
    page.tell("""
        ADD ns/a c2                  -> 10.9.0.1 reassigned
        ADD ns/a c3 ip=10.9.0.7      -> 10.9.0.1 reassigned
        DEL c3                       -> 10.9.0.1 free
        ADD ns/a c4                  -> 10.9.0.5 static
    """)
