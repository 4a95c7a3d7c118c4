"""What was seen leads to these commands; no sight alone ever takes an address back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger import pools
from ledger.errors import InvalidPool, PoolInUse, PoolOverlap, UnknownPool
from ledger.events import Event, State
from sync.objects import FINALIZER, IPPool, StatefulSet
from sync.reconcile import (
    AddFinalizer,
    Apply,
    Delete,
    Memory,
    Refusal,
    RemoveFinalizer,
    Sweep,
    SweepLimits,
    only_in_ledger,
    plan_sweep,
    pool_commands,
    refusal_of,
    retention,
    wants_set,
)
from sync.watch import packed
from tests.sync.pages import SPEC, event, ippool, page

KNOWN = pools.from_spec("p", SPEC)
OTHER = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.20/24"}]})


def seen(**more: Any) -> IPPool:
    return IPPool.from_raw(ippool(**more))


# -- pools


@pytest.mark.parametrize(
    ("pool", "in_ledger", "commands"),
    [
        (seen(), None, (AddFinalizer(), Apply(KNOWN))),
        (seen(finalizers=[FINALIZER]), None, (Apply(KNOWN),)),
        (seen(finalizers=[FINALIZER]), KNOWN, ()),
        (seen(finalizers=[FINALIZER]), OTHER, (Apply(KNOWN),)),
        (seen(finalizers=[FINALIZER], deletionTimestamp="t"), KNOWN, (Delete(), RemoveFinalizer())),
        (seen(finalizers=[FINALIZER], deletionTimestamp="t"), None, (Delete(), RemoveFinalizer())),
        (seen(finalizers=["other"], deletionTimestamp="t"), KNOWN, ()),
    ],
)
def test_a_pool_leads_to_commands(pool: IPPool, in_ledger: Any, commands: tuple[Any, ...]) -> None:
    assert pool_commands(pool, in_ledger) == commands


def test_an_invalid_pool_changes_nothing_and_says_what_is_wrong() -> None:
    (refusal,) = pool_commands(seen(spec={"ipPoolSubs": [{"range": "10.9.0.9-10.9.0.1/24"}]}), KNOWN)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "InvalidSpec"
    assert "spec.ipPoolSubs[0].range" in refusal.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidPool("spec.x", 1, "must be 2"), "InvalidSpec"),
        (PoolOverlap("p", "q", "default", "10.9.0.1"), "Overlap"),
        (PoolInUse("p", "10.9.0.1", "default/web-0", 3), "AddressesInUse"),
        (UnknownPool("p"), "Refused"),
    ],
)
def test_what_the_book_refuses_has_a_reason_and_its_own_words(error: Any, reason: str) -> None:
    assert refusal_of(error) == Refusal(reason, str(error))


@pytest.mark.parametrize(
    "status",
    [
        {"allocated": 2, "ledgerSeq": 70},
        {"dynamicReservations": {"default": {"web-0": "10.9.0.1", "web-1": "10.9.0.2"}}},
        {"DynamicReservations": {"default": {"web-0": "10.9.0.1"}, "shop": {"db-0": "10.9.0.2"}}},
    ],
)
def test_a_pool_in_use_that_the_ledger_never_heard_of_waits_for_a_person(status: dict[str, Any]) -> None:
    (refusal,) = pool_commands(seen(status=status), None)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "LedgerLost"
    assert "2 addresses" in refusal.message and "restore --from-cluster" in refusal.message
    assert pool_commands(seen(status=status), KNOWN) == (AddFinalizer(),)


def test_pools_without_an_object_are_named() -> None:
    assert only_in_ledger(["b", "a", "c"], {"b"}) == ["a", "c"]


# -- the sweep

LIMITS = SweepLimits(grace=60, at_most=2, share=0.5, floor=2, shrink=0.5, settle=3)


def sweep(holders: list[Event], running: dict[str, str], memory: Memory, now: float) -> Sweep:
    live = {key: packed(uid) for key, uid in running.items()}
    return plan_sweep(holders, live, packed, memory, now, LIMITS)


def asked(plan: Sweep) -> list[str]:
    return [str(each.ip).removeprefix("10.9.0") for each in plan.ask]


HOLDERS = page(
    """
    Allocated .1 default/web-0 aa
    Allocated .2 default/web-1 bb
    Allocated .3 default/web-2 cc
    Allocated .4 some-container
    """
)
ALL = {"default/web-0": "aa", "default/web-1": "bb", "default/web-2": "cc"}


def test_an_owner_is_asked_about_when_it_was_missed_twice_and_the_grace_is_over() -> None:
    gone = {key: uid for key, uid in ALL.items() if key != "default/web-0"}
    first = sweep(HOLDERS, gone, Memory(pods=3), 1000)
    assert (asked(first), first.missing) == ([], 1)
    early = sweep(HOLDERS, gone, first.memory, 1059)
    assert asked(early) == []
    ripe = sweep(HOLDERS, gone, early.memory, 1060)
    assert (asked(ripe), ripe.suspended) == ([".1"], None)


def test_once_seen_again_the_grace_starts_anew() -> None:
    gone = {key: uid for key, uid in ALL.items() if key != "default/web-0"}
    memory = sweep(HOLDERS, gone, Memory(pods=3), 0).memory
    memory = sweep(HOLDERS, ALL, memory, 50).memory
    assert asked(sweep(HOLDERS, gone, memory, 100)) == []


@pytest.mark.parametrize("other", [{"pool": "q"}, {"ip": ".9"}, {"version": 3}])
def test_each_holding_has_a_grace_of_its_own(other: dict[str, Any]) -> None:
    one = {"kind": "Allocated", "ip": ".1", "owner": "default/web-0"}
    memory = sweep([event(**one)], {"a/b": "aa"}, Memory(), 0).memory
    assert asked(sweep([event(**one)], {"a/b": "aa"}, memory, 60)) == [".1"]
    assert asked(sweep([event(**one | other)], {"a/b": "aa"}, memory, 60)) == []


def test_another_uid_is_another_pod_but_an_unknown_uid_is_not() -> None:
    other = ALL | {"default/web-0": "ff"}
    memory = sweep(HOLDERS, other, Memory(pods=3), 0).memory
    assert asked(sweep(HOLDERS, other, memory, 60)) == [".1"]
    assert sweep(HOLDERS, ALL | {"default/web-0": ""}, memory, 60).missing == 0
    unfenced = [event("Allocated", ".1", "default/web-0", None), *HOLDERS[1:]]
    memory = sweep(unfenced, other, Memory(pods=3), 0).memory
    assert asked(sweep(unfenced, other, memory, 60)) == []


def test_owners_that_are_not_pods_are_never_missed() -> None:
    only = HOLDERS[3:]
    memory = sweep(only, {"a/b": "aa"}, Memory(), 0).memory
    assert sweep(only, {"a/b": "aa"}, memory, 1000) == Sweep((), 0, None, memory)


def test_an_empty_list_is_no_evidence() -> None:
    first = sweep(HOLDERS, {}, Memory(pods=3), 0)
    assert first.suspended is None, "nobody would be asked about yet"
    plan = sweep(HOLDERS, {}, first.memory, 1000)
    assert plan.ask == ()
    assert plan.suspended == "the API server lists no pod at all, while 3 hold addresses"


def test_a_suddenly_small_list_is_no_evidence_until_it_has_lasted() -> None:
    memory = sweep(HOLDERS, {"default/web-0": "aa", "x/y": "dd"}, Memory(pods=10), 0).memory
    rounds = []
    for now in range(100, 700, 100):
        plan = sweep(HOLDERS, {"default/web-0": "aa", "x/y": "dd"}, memory, now)
        memory = plan.memory
        rounds.append((asked(plan), plan.suspended))
    shrank = "the list of pods shrank suddenly from 10 to 2"
    assert rounds == [([], shrank)] * 2 + [([".2", ".3"], None)] * 4


@pytest.mark.parametrize(
    ("running", "before", "after"),
    [
        (["web-1", "web-2", "other"], (3, 0), (3, 0)),
        (["web-1", "web-2"], (4, 1), (2, 0)),  # half of it is not small yet
        (["web-1"], (3, 0), (3, 1)),
        (["web-1"], (3, 2), (3, 3)),
        (["web-1"], (3, 3), (1, 0)),  # small for so long that it is the new normal
        (["web-0", "web-1", "web-2"], (9, 0), (3, 0)),  # small, but nobody is missing
    ],
)
def test_what_a_list_is_small_beside(
    running: list[str], before: tuple[int, int], after: tuple[int, int]
) -> None:
    pods = {f"default/{name}": ALL.get(f"default/{name}", "dd") for name in running}
    plan = sweep(HOLDERS, pods, Memory({}, *before), 0)
    assert (plan.memory.pods, plan.memory.low) == after


def test_half_of_a_list_is_not_suddenly_small() -> None:
    two = {key: uid for key, uid in ALL.items() if key != "default/web-0"}
    memory = sweep(HOLDERS, two, Memory(pods=4), 0).memory
    assert asked(sweep(HOLDERS, two, Memory(memory.since, pods=4), 60)) == [".1"]


def test_above_the_cap_nothing_is_taken_back_and_the_way_on_is_named() -> None:
    many = page("\n".join(f"Allocated .{n} default/p-{n} aa" for n in range(1, 11)))
    some = {f"default/p-{n}": "aa" for n in range(1, 5)}
    memory = sweep(many, some, Memory(pods=4), 0).memory
    plan = sweep(many, some, memory, 60)
    assert plan.ask == ()
    assert plan.suspended is not None and "IPAM_LEDGER_RECLAIM_SHARE" in plan.suspended


def test_a_round_asks_about_so_many_at_most_the_longest_missed_first() -> None:
    many = page("\n".join(f"Allocated .{n} default/p-{n} aa" for n in range(1, 11)))
    some = {f"default/p-{n}": "aa" for n in range(1, 7)}
    memory = sweep(many, some | {"default/p-7": "aa"}, Memory(pods=6), 0).memory
    memory = sweep(many, some, memory, 10).memory
    assert asked(sweep(many, some, memory, 100)) == [".8", ".9"]


# -- retention

SET = StatefulSet("default", "web", "u", replicas=2)
SOON = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)


def held(pod: str, until: datetime | None = None) -> Event:
    return event("Held", ".1", pod, until=until)


@pytest.mark.parametrize(
    ("newest", "found", "wanted"),
    [
        (event("Released", ".1", "default/web-1"), SET, "hold"),
        (event("Released", ".1", "default/web-1", state=State.COOLING), SET, "hold"),
        (event("Reclaimed", ".1", "default/web-1"), SET, "hold"),
        (event("Released", ".1", "default/web-2"), SET, None),
        (event("Released", ".1", "default/web-1"), None, None),
        (event("Released", ".1", "default/other"), SET, None),
        (event("Released", ".1", "default/web-1"), replace(SET, deleting=True), None),
        (event("Allocated", ".1", "default/web-1"), SET, None),
        (held("default/web-1"), SET, None),
        (held("default/web-1", SOON), SET, "hold"),
        (held("default/web-2"), SET, "free"),
        (held("default/web-1"), None, "free"),
        (held("default/other"), None, None),
        (held("by-hand"), None, None),
    ],
)
def test_an_address_is_held_while_its_set_has_the_ordinal(newest: Event, found: Any, wanted: Any) -> None:
    decided = retention(newest, ("StatefulSet",), found)
    assert (decided and decided[0]) == wanted


def test_which_set_decides() -> None:
    assert wants_set(event("Released", ".1", "default/web-1"), ("StatefulSet",)) == ("default", "web")
    assert wants_set(event("Released", ".1", "default/web-1"), ()) is None
    assert wants_set(held("default/web-1"), ()) == ("default", "web")
    assert wants_set(event("Allocated", ".1", "default/web-1"), ("StatefulSet",)) is None
    assert wants_set(event("Released", ".1", "web-1"), ("StatefulSet",)) is None
    assert wants_set(event("Released", ".1", "default/other"), ("StatefulSet",)) is None


def test_a_pool_that_retains_nothing_any_more_frees_what_it_held() -> None:
    assert retention(held("default/web-1"), (), SET) == (
        "free", "the pool retains no StatefulSet's addresses any more",
    )  # fmt: skip
