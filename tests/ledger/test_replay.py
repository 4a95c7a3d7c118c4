"""Which event may follow which; and what a stream says about a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.replay import LEGAL, wrong, wrong_of_pool
from tests.ledger.chronicle import DAY
from tests.ledger.oracle import as_of, breaches, holdings, wrong_event

ADDRESS_KINDS = [kind for kind in Kind if not kind.of_pool]
# By hand, from design.md: what the book ever writes. The module's own table must say the same.
ALLOWED = {
    "Allocated": "free cooling held allocated -> allocated",
    "Adopted": "free cooling held -> allocated",
    "Released": "allocated held -> free cooling",
    "Reclaimed": "allocated held -> free cooling",
    "Held": "free allocated cooling held -> held",
    "Freed": "cooling held -> free",
}


def event(
    version: int, kind: Kind, state: State | None, minute: int, pod: str = "a", **more: object
) -> Event:
    plain = Event(
        version, DAY + timedelta(minutes=minute), kind, "p", "10.8.0.1", version, state, Owner("ns", pod, f"uid-{pod}"),
        Attachment(f"c-{pod}", "eth0", "net"), None, None, "test", "test",
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ADDRESS_KINDS)
def test_every_step_is_allowed_or_refused_as_the_design_says(kind: Kind) -> None:
    left, _, right = ALLOWED[kind].partition(" -> ")
    for before, after in product(State, State):
        ends = after in (State.COOLING,)
        refused = wrong(kind, before, after, has_until=ends)
        assert (refused is None) is (before in left.split() and after in right.split()), (
            before,
            after,
            refused,
        )


def test_the_table_has_every_kind() -> None:
    assert set(LEGAL) == set(ADDRESS_KINDS)


@pytest.mark.parametrize(
    ("kind", "before", "after", "more", "why"),
    [
        ("Sold", "free", "allocated", {}, "not a kind"),
        ("Released", "allocated", "gone", {}, "not a kind"),
        ("PoolCreated", None, "free", {}, "is of a pool, but names an address"),
        ("Released", None, "free", {}, "of an address that was free"),
        ("Held", None, "held", {}, "nobody ever had"),
        ("Released", "allocated", "free", {"same_owner": False}, "changed the owner"),
        ("Released", "allocated", "cooling", {}, "without an end"),
        ("Released", "allocated", "free", {"has_until": True}, "with an end"),
        ("Allocated", "free", "allocated", {"has_until": True}, "with an end"),
        ("Allocated", "free", "allocated", {"back": True}, "earlier than the event before it"),
    ],
)
def test_what_is_wrong_is_said(kind: str, before: str, after: str, more: dict[str, bool], why: str) -> None:
    assert why in (wrong(kind, before, after, **more) or "nothing")


def test_an_owner_may_change_only_with_the_address() -> None:
    assert wrong("Allocated", "allocated", "allocated", same_owner=False) is None
    assert wrong("Held", "held", "held", has_until=True) is None
    assert wrong("Held", "held", "held") is None


def test_breaches_names_each_event_that_breaks_a_rule() -> None:
    good = [
        event(1, Kind.ALLOCATED, State.ALLOCATED, 0),
        event(2, Kind.RELEASED, State.FREE, 1),
        event(3, Kind.ALLOCATED, State.ALLOCATED, 1, "b"),
    ]
    assert list(breaches(good)) == []
    for at, bad, why in (
        (0, replace(good[0], version=2), "version 2 comes where 1 should"),
        (1, replace(good[1], version=3), "version 3 comes where 2 should"),
        (1, replace(good[1], owner=Owner("ns", "b")), "changed the owner"),
        (1, replace(good[1], node="elsewhere"), "changed the owner"),
        (2, replace(good[2], at=DAY), "is earlier"),
        (2, replace(good[2], until=DAY), "with an end"),
    ):
        found = dict(breaches([*good[:at], bad, *good[at + 1 :]]))
        assert why in found.get(bad, f"nothing; {found}")


def test_pools_come_and_go_and_come_again() -> None:
    def pool(version: int, kind: Kind) -> Event:
        return event(version, kind, None, version, ip=None, owner=Owner(), attachment=Attachment(""), spec={})

    created, updated, deleted = Kind.POOL_CREATED, Kind.POOL_UPDATED, Kind.POOL_DELETED
    legal = [created, updated, deleted, created, deleted]
    assert list(breaches(pool(n, kind) for n, kind in enumerate(legal, 1))) == []
    for kinds in (
        [updated],
        [deleted],
        [created, created],
        [created, deleted, deleted],
        [created, deleted, updated],
    ):
        stream = [pool(n, kind) for n, kind in enumerate(kinds, 1)]
        assert [each for each, _ in breaches(stream)] == [stream[-1]]
    assert wrong_event(pool(1, created), replace(pool(2, updated), at=DAY)) is not None
    for kind in ("Allocated", "Sold"):
        assert wrong_of_pool(kind, True, back=False) == f"{kind} is not of a pool, but names no address"


def test_holdings_are_half_open_and_one_without_length_never_was() -> None:
    stream = [
        event(1, Kind.ALLOCATED, State.ALLOCATED, 0, "a"),
        event(2, Kind.ALLOCATED, State.ALLOCATED, 5, "a", attachment=Attachment("c2", "eth0", "net")),
        event(3, Kind.RELEASED, State.FREE, 5, "a"),
        event(4, Kind.ALLOCATED, State.ALLOCATED, 5, "b"),
        event(5, Kind.HELD, State.HELD, 8, "b"),
        event(6, Kind.ALLOCATED, State.ALLOCATED, 9, "c"),
    ]
    assert [(h.event.version, (h.since - DAY).seconds // 60, h.until and (h.until - DAY).seconds // 60) for h in holdings(stream)] == [
        (1, 0, 5),
        (4, 5, 8),
        (6, 9, None),
    ]  # fmt: skip


def test_as_of_takes_the_newest_at_that_very_instant() -> None:
    stream = [
        event(1, Kind.ALLOCATED, State.ALLOCATED, 1),
        event(2, Kind.RELEASED, State.FREE, 5),
        event(3, Kind.ALLOCATED, State.ALLOCATED, 5, "b"),
    ]
    tick = timedelta(microseconds=1)

    def at(moment: timedelta) -> int | None:
        found = as_of(stream, DAY + moment)
        return found and found.version

    assert at(timedelta()) is None
    assert at(timedelta(minutes=1) - tick) is None
    assert at(timedelta(minutes=1)) == 1
    assert at(timedelta(minutes=5) - tick) == 1
    assert at(timedelta(minutes=5)) == 3
    assert at(timedelta(days=9)) == 3
