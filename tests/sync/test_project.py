"""An IPPool's status is the fold of its events, and is only written where it differs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.events import State
from sync.objects import IPPool
from sync.picture import BUDGET, PoolPicture
from sync.project import BEHIND, notices, patch, status
from sync.reconcile import Refusal
from tests.sync.pages import event, ippool, page

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)


def picture(text: str) -> PoolPicture:
    out = PoolPicture("p")
    for each in page(text):
        out.fold(each)
    return out


def shown(
    text: str,
    *,
    now: datetime = NOW,
    refusal: Refusal | None = None,
    suspended: str | None = None,
    **pool: Any,
) -> dict[str, Any]:
    return status(
        picture(text),
        IPPool.from_raw(ippool(**pool)),
        observed=1,
        refusal=refusal,
        suspended=suspended,
        position=99,
        now=now,
    )


def figures(found: dict[str, Any]) -> list[Any]:
    return [found[key] for key in ("capacity", "allocated", "held", "cooling", "free", "ledgerSeq")]


def test_the_status_is_the_fold_of_the_events() -> None:
    found = shown(
        """
        PoolCreated
        Allocated .1 default/web-0 aa
        Allocated .2 default/web-1 bb
        Allocated .3 shop/db-0 cc
        Allocated .4 some-container
        Released .2 default/web-1 bb
        Held .2 default/web-1 bb
        """
    )
    assert figures(found) == [10, 3, 1, 0, 6, 7]
    assert (found["utilization"], found["usedPercent"], found["observedGeneration"]) == (0.4, 40, 1)
    assert found["dynamicReservations"] == {"default": {"web-0": "10.9.0.1"}, "shop": {"db-0": "10.9.0.3"}}
    assert {each["type"]: each["status"] for each in found["conditions"]} == {
        "Ready": "True", "Exhausted": "False", "ReservationsTruncated": "False",
    }  # fmt: skip


def test_the_position_stays_where_it_is_true_and_never_goes_back() -> None:
    out = PoolPicture("p")
    out.fold(event("PoolCreated", seq=0))
    out.fold(event("Allocated", ".1", "a/b", "x", seq=0))

    def seq(shown: dict[str, Any]) -> Any:
        pool = IPPool.from_raw(ippool(status=shown))
        found = status(out, pool, observed=1, refusal=None, suspended=None, position=50, now=NOW)
        return found["ledgerSeq"]

    first = status(
        out, IPPool.from_raw(ippool()), observed=1, refusal=None, suspended=None, position=40, now=NOW
    )
    assert first["ledgerSeq"] == 40  # read as of that position, by a worker that has just started
    assert seq(first) == 40  # another one that starts later sees no difference
    assert seq({**first, "allocated": 2}) == 50  # what is shown is not what is: true as of now
    out.fold(event("Released", ".1", "a/b", "x", seq=45, version=2))
    assert seq(first) == 45
    assert seq({**first, "ledgerSeq": 48}) == 48


def test_an_event_that_was_seen_already_changes_nothing() -> None:
    out = picture("PoolCreated\nAllocated .1 default/web-0 aa\nReleased .1 default/web-0 aa")
    assert not out.fold(event("Allocated", ".1", "default/web-0", "aa", seq=2, version=1))
    assert (out.count(State.ALLOCATED), out.seq) == (0, 3)


def test_a_pod_with_two_addresses_shows_both() -> None:
    found = shown("PoolCreated\nAllocated .10 a/b x\nAllocated .9 a/b x")
    assert found["dynamicReservations"] == {"a": {"b": "10.9.0.9,10.9.0.10"}}


def test_a_deleted_pool_shows_no_figures() -> None:
    found = shown("PoolCreated\nPoolDeleted")
    assert "capacity" not in found
    assert found["conditions"][0]["reason"] == "NotInLedger"


@pytest.mark.parametrize(
    ("ledger", "refusal"), [("", None), ("PoolCreated", Refusal(BEHIND, "the object shows a later position"))]
)
def test_after_a_loss_the_figures_stay_to_restore_from(ledger: str, refusal: Refusal | None) -> None:
    before = shown("PoolCreated\nAllocated .1 default/web-0 aa")
    after = shown(ledger, refusal=refusal, status=before)
    assert after | {"conditions": []} == before | {"conditions": []}


def test_a_condition_that_holds_no_more_is_gone() -> None:
    before = shown("PoolCreated", suspended="no pod is listed")
    assert [each["type"] for each in shown("", status=before)["conditions"]] == ["Ready"]


def test_more_than_the_api_can_count_is_the_largest_that_it_can() -> None:
    out = PoolPicture("p")
    out.fold(replace(event("PoolCreated"), spec={"ipPoolSubs": [{"range": "fd00::/48"}]}))
    pool = IPPool.from_raw(ippool())
    found = status(out, pool, observed=1, refusal=None, suspended=None, position=99, now=NOW)
    assert (found["capacity"], found["free"]) == (2**63 - 1, 2**63 - 1)


@pytest.mark.parametrize(
    ("seen", "kind", "says"),
    [
        ({}, "Ready", "True InLedger"),
        ({"deletionTimestamp": "t"}, "Ready", "False Deleting"),
        ({"suspended": "no pod is listed"}, "ReclaimSuspended", "True Suspicious"),
        ({}, "Exhausted", "False FreeAddresses"),
    ],
)
def test_each_condition_says_why(seen: dict[str, Any], kind: str, says: str) -> None:
    found = {each["type"]: each for each in shown("PoolCreated", **seen)["conditions"]}
    assert f"{found[kind]['status']} {found[kind]['reason']}" == says
    assert found[kind]["message"] == seen.get("suspended", found[kind]["message"])


def test_a_full_pool_says_so_and_one_event_tells() -> None:
    full = shown("PoolCreated\n" + "\n".join(f"Allocated .{n} a/p{n} x" for n in range(1, 11)))
    near = shown("PoolCreated\n" + "\n".join(f"Allocated .{n} a/p{n} x" for n in range(1, 10)))
    calm = shown("PoolCreated")
    assert full["conditions"][1]["reason"] == "NoFreeAddress"
    assert full["conditions"][1]["message"] == "of 10 addresses none is free: 10 allocated, 0 held, 0 cooling"
    assert [each.reason for each in notices(near, full)] == ["Exhausted"]
    assert [each.reason for each in notices(calm, near)] == ["NearlyExhausted"]
    assert [each.reason for each in notices(full, near)] == ["NoLongerExhausted"]
    assert notices(full, full) == notices(near, near) == []


def test_what_is_wrong_is_told_once() -> None:
    calm, suspended = shown("PoolCreated"), shown("PoolCreated", suspended="no pod is listed")
    (notice,) = notices(calm, suspended)
    assert (notice.reason, notice.message, notice.warning) == ("ReclaimSuspended", "no pod is listed", True)
    assert notices(suspended, suspended) == notices(suspended, calm) == []
    refused = shown("PoolCreated", refusal=Refusal("InvalidSpec", "spec.x: wrong"))
    assert notices(refused, refused) == notices(refused, calm) == []
    assert notices(calm, shown("")) == notices(calm, shown("PoolCreated", deletionTimestamp="t")) == []


def test_a_refused_change_keeps_the_figures_and_says_why() -> None:
    found = shown("PoolCreated", refusal=Refusal("InvalidSpec", "spec.x: wrong"))
    assert found["capacity"] == 10
    ready = found["conditions"][0]
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "InvalidSpec", "spec.x: wrong")
    assert [each.reason for each in notices({}, found)] == ["InvalidSpec"]


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = shown("PoolCreated")
    again = shown("PoolCreated", now=LATER, status=first)
    assert patch(first, again) is None
    full = shown(
        "PoolCreated\n" + "\n".join(f"Allocated .{n} a/p{n} x" for n in range(1, 11)), now=LATER, status=first
    )
    times = {each["type"]: each["lastTransitionTime"] for each in full["conditions"]}
    assert (times["Ready"], times["Exhausted"]) == ("2026-11-24T12:00:00Z", "2026-11-24T13:00:00Z")


def test_conditions_of_others_are_left_alone() -> None:
    foreign = {"type": "Approved", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert shown("PoolCreated", status={"conditions": [foreign]})["conditions"][-1] == foreign


def test_above_the_budget_reservations_are_left_out_as_a_whole() -> None:
    out = PoolPicture("p")
    out.fold(page("PoolCreated")[0])
    count = 0
    while not out.truncated:
        count += 1
        ip = f"10.9.{count // 256}.{count % 256}"
        out.fold(event("Allocated", ip, f"namespace-{count % 7}/pod-{count:08}", "x", seq=count + 1))
    written = json.dumps(out.reservations(), separators=(",", ":"))
    assert BUDGET * 0.6 < len(written) <= BUDGET
    found = status(
        out, IPPool.from_raw(ippool()), observed=1, refusal=None, suspended=None, position=99, now=NOW
    )
    assert "dynamicReservations" not in found
    truncated = next(each for each in found["conditions"] if each["type"] == "ReservationsTruncated")
    assert truncated["status"] == "True"
    # one release, and they fit again
    out.fold(event("Released", "10.9.0.1", "namespace-1/pod-00000001", "x", seq=9999, version=2))
    assert not out.truncated


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
STATUS = st.dictionaries(st.sampled_from(["capacity", "free", "dynamicReservations", "conditions"]), JSON)


def merge(target: Any, change: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(change, dict):
        return change
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


@given(before=STATUS, wanted=STATUS)
def test_the_patch_leads_to_what_is_wanted(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    without_nulls = merge({}, wanted)  # a status never holds a null
    change = patch(merge({}, before), without_nulls)
    assert merge(merge({}, before), change or {}) == without_nulls
    assert (change is None) == (merge({}, before) == without_nulls)


def test_the_patch_is_the_smallest_and_leaves_others_fields_alone() -> None:
    before = {
        "foreign": 1,
        "observedGeneration": 1,
        "capacity": 3,
        "dynamicReservations": {"a": {"x": "10.9.0.1", "y": "10.9.0.2"}, "b": {"z": "10.9.0.3"}},
    }
    wanted = {"capacity": 3, "dynamicReservations": {"a": {"x": "10.9.0.1", "y": "10.9.0.4"}}}
    assert patch(before, wanted) == {
        "observedGeneration": None, "dynamicReservations": {"a": {"y": "10.9.0.4"}, "b": None},
    }  # fmt: skip


@pytest.mark.parametrize("before", [{}, {"conditions": "broken"}, {"conditions": [1, {"type": 2}]}])
def test_a_status_that_somebody_broke_is_written_over(before: dict[str, Any]) -> None:
    assert shown("PoolCreated", status=before)["conditions"][0]["type"] == "Ready"
