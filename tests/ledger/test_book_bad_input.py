"""Bad input gets an error that names it, and changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.claims import Claim, Node
from ledger.errors import InvalidRequest, LedgerError, UnknownPool
from ledger.events import LONGEST, Attachment, Kind, Owner
from tests.laws import laws
from tests.ledger.pages import Page

LONG = "x" * (LONGEST + 1)

BAD: dict[str, tuple[str, Callable[[Claim], Claim]]] = {
    "no pool": ("pools", lambda c: replace(c, pools=())),
    "a pool twice": ("pools", lambda c: replace(c, pools=c.pools * 2)),
    "a pool's name that no database stores": ("pools", lambda c: replace(c, pools=("a\0b",))),
    "no container": ("containerID", lambda c: replace(c, attachment=Attachment("", "eth0", "n"))),
    "a NUL in the container": (
        "containerID",
        lambda c: replace(c, attachment=Attachment("a\0", "eth0", "n")),
    ),
    "a slash in the container of no pod": (
        "containerID",
        lambda c: replace(c, owner=Owner(), attachment=Attachment("ns/a")),
    ),
    "half a surrogate pair in the network": (
        "network",
        lambda c: replace(c, attachment=Attachment("c", "eth0", "n\udc80")),
    ),
    "a long interface": ("ifName", lambda c: replace(c, attachment=Attachment("c", LONG, "n"))),
    "a NUL in the pod": ("pod", lambda c: replace(c, owner=Owner("ns", "a\0", None))),
    "a long pod": ("pod", lambda c: replace(c, owner=Owner("ns", LONG, None))),
    "a slash in the pod": ("pod", lambda c: replace(c, owner=Owner("ns", "a/b", None))),
    "a slash in the namespace": ("namespace", lambda c: replace(c, owner=Owner("n/s", "a", None))),
    "an empty namespace": ("namespace", lambda c: replace(c, owner=Owner("", "a", None))),
    "a NUL in the UID": ("podUID", lambda c: replace(c, owner=Owner("ns", "a", "\0"))),
    "a NUL in the node": ("node", lambda c: replace(c, node=Node("n\0"))),
    "a long reason": ("reason", lambda c: replace(c, reason=LONG)),
    "an asked address that is none": ("asked address", lambda c: replace(c, asked=("10.9.0.256",))),
    "an asked address with a zone": ("asked address", lambda c: replace(c, asked=("fe80::1%eth0",))),
    "a mapped address": ("asked address", lambda c: replace(c, asked=("::ffff:10.9.0.1",))),
    "two of one family": ("asked address", lambda c: replace(c, asked=("10.9.0.1", "10.9.0.2"))),
}


def test_a_claim(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    for what, (field, spoil) in BAD.items():
        claim = spoil(page.claim("ns/a", "c1"))
        with pytest.raises(InvalidRequest) as refused:
            page.book.allocate(claim)
        assert refused.value.field == field, what
    assert page.figures()[2:] == (0, 0, 0)


def test_one_bad_claim_spoils_no_other_of_its_batch(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    bad = [spoil(page.claim(f"ns/bad-{n}", f"bad{n}")) for n, (_, spoil) in enumerate(BAD.values())]
    good = [page.claim(f"ns/good-{n}", f"good{n}") for n in range(3)]
    outcomes = page.book.allocate_many(
        [good[0], *bad, good[1], page.claim("ns/x", "c9", pool="none"), good[2]]
    )
    names = [type(each).__name__ for each in outcomes]
    assert names == ["tuple", *["InvalidRequest"] * len(bad), "tuple", "UnknownPool", "tuple"]
    assert page.figures()[2:] == (3, 0, 0)


def test_a_del_of_what_cannot_be_in_the_ledger_frees_nothing(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    odd = [Attachment(each, "eth0", page.mark + "net") for each in ("a\0b", "c\udc80", "x" * 5_000, "")]
    for each in odd:
        assert page.book.release(each) == []
        assert page.book.held_by(each) == ()
    assert page.book.release_many([*odd, page.attachment("c1")])[:-1] == [[]] * len(odd)
    page.tell("IS 10.9.0.1               -> free ns/a 2")


def test_a_pools_name_that_there_is_not(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    names = "none", "a\0b", "p\udc80", "x" * 5_000, ""
    methods = (
        page.book.pool,
        page.book.delete_pool,
        lambda name: page.book.transfer(name, "10.9.0.1", 1, Kind.FREED, reason="r"),
        lambda name: page.book.release_ip("10.9.0.1", pool=name, reason="r"),
    )
    for ask, name in itertools.product(methods, names):
        with pytest.raises(UnknownPool):
            ask(name)  # type: ignore[operator]
    page.tell("IS 10.9.0.1               -> allocated ns/a 1")


@pytest.mark.parametrize("reason", ["a\0b", "\udc80"])
def test_a_reason_that_no_database_stores(page: Page, reason: str) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    for ask in (
        lambda: page.book.release_ip("10.9.0.1", pool=page.mark + "p", reason=reason),
        lambda: page.book.transfer(page.mark + "p", "10.9.0.1", 1, Kind.HELD, reason=reason),
        lambda: page.book.delete_pool(page.mark + "p", reason=reason),
    ):
        with pytest.raises(LedgerError) as refused:
            ask()
        assert type(refused.value).__name__ in ("InvalidRequest", "PoolInUse")
    page.tell("IS 10.9.0.1               -> allocated ns/a 1")
    assert laws.broken(page.database, page.mark + "%") == []
