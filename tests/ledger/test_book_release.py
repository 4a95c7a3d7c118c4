"""DEL, GC and release by hand: what an attachment holds and nothing else; again and again."""

from __future__ import annotations

import pytest

from ledger.errors import InvalidRequest, LedgerError, NotHeld, UnknownAddress
from tests.ledger.pages import Page


def test_a_del_frees_what_the_attachment_holds_and_a_repeated_one_nothing(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        DEL c1                       -> nothing
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
        DEL c1                       -> nothing
        DEL c1                       -> nothing
        IS 10.9.0.1                  -> free ns/a 2
    """)


def test_a_del_frees_every_address_of_the_attachment_in_whatever_pool(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::9/64")
    page.pool("10.9.8.1-10.9.8.9/24", name="q")
    page.tell("""
        ADD ns/a c1 pool=p,q         -> 10.9.0.1 lowest, fd00:9::1 lowest, 10.9.8.1 lowest
        DEL c1                       -> 10.9.0.1 free, 10.9.8.1 free, fd00:9::1 free
    """)


def test_a_del_leaves_other_containers_interfaces_and_networks_alone(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c2                       -> nothing
        DEL c1 if=eth1               -> nothing
        DEL c1 net=other             -> nothing
        IS 10.9.0.1                  -> allocated ns/a 1
    """)


def test_a_late_del_does_not_free_what_another_pod_has_now(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.1/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
        ADD ns/b c2                  -> 10.9.0.1 lowest
        DEL c1                       -> nothing
        IS 10.9.0.1                  -> allocated ns/b 3
    """)


def test_a_batch_of_dels_answers_each(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
    """)
    asked = [page.attachment(name) for name in ("c2", "unknown", "c1", "c2")]
    answered = page.book.release_many(asked)
    assert [sorted(str(event.ip) for event in events) for events in answered] in (
        [["10.9.0.2"], [], ["10.9.0.1"], []],
        [[], [], ["10.9.0.1"], ["10.9.0.2"]],
    )


def test_gc_frees_what_is_not_valid_on_this_node_and_network_only(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 node=n1          -> 10.9.0.1 lowest
        ADD ns/b c2 node=n1          -> 10.9.0.2 lowest
        ADD ns/c c3 node=n2          -> 10.9.0.3 lowest
        ADD ns/d c4 node=n1 net=two  -> 10.9.0.4 lowest
        GC n1 keep=c1                -> 10.9.0.2 free
        GC n1 keep=c1                -> nothing
        GC n3                        -> nothing
        GC n1                        -> 10.9.0.1 free
        IS 10.9.0.3                  -> allocated ns/c 1
        IS 10.9.0.4                  -> allocated ns/d 1
    """)


def test_by_hand_what_is_allocated_or_held(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        RELEASE 10.9.0.1             -> 10.9.0.1 free
        RELEASE 10.9.0.1             -> NotHeld
        RELEASE 10.9.0.2             -> NotHeld
        RELEASE 10.9.7.7             -> AddressOutsidePool 10.9.7.7
        RELEASE nonsense             -> InvalidRequest
        RELEASE 10.9.0.1 pool=none   -> UnknownPool
        ADD ns/a c2                  -> 10.9.0.1 returning
        HOLD 10.9.0.1                -> 10.9.0.1 held
        RELEASE 10.9.0.1             -> 10.9.0.1 free
    """)
    assert page.ledger("10.9.0.1").splitlines()[1] == "2 Released free ns/a c1 by hand"


def test_by_hand_without_naming_the_pool(page: Page) -> None:
    network = f"100.{hash(page.mark) % 100 + 64}.{hash(page.mark) // 100 % 256}"
    page.pool(f"{network}.1-{network}.9/24")
    page.book.allocate(page.claim("ns/a", "c1"))
    assert page.book.release_ip(f"{network}.1", reason="by hand").state == "free"
    page.pool(f"{network}.1-{network}.9/24", name="q", addressSpace=f"{page.mark}2")
    with pytest.raises(InvalidRequest, match=r"say which with --pool \(got '100"):
        page.book.release_ip(f"{network}.1", reason="by hand")
    with pytest.raises(UnknownAddress):
        page.book.release_ip("198.51.100.1", reason="by hand")
    assert issubclass(NotHeld, LedgerError)


def test_what_an_attachment_holds(page: Page) -> None:
    page.pool({"range": "10.9.0.1-10.9.0.9/24", "gateway": "10.9.0.254"}, "fd00:9::1-fd00:9::9/64")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest, fd00:9::1 lowest")
    held = page.book.held_by(page.attachment("c1"))
    assert sorted((each.ip, each.prefix_length, each.gateway, each.event) for each in held) == [
        ("10.9.0.1", 24, "10.9.0.254", None),
        ("fd00:9::1", 64, None, None),
    ]
    assert page.book.held_by(page.attachment("c2")) == ()
