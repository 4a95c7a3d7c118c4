"""Every way in which what was found can disagree with the pools, the ledger, and itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.adoption.compare import compare
from ledger.adoption.verdict import Verdict
from ledger.adoption.wanted import wanted
from ledger.events import owner_key
from tests.ledger.adopting import found, pool, verdicts
from tests.sync.pages import page as live


def test_the_ledger_is_empty() -> None:
    assert verdicts(compare(found("10.9.0.2 ns/b\n10.9.0.1 ns/a\n10.9.0.3 c3"), [pool()], [])) == [
        "10.9.0.1 ns/a: adopt",
        "10.9.0.2 ns/b: adopt",
        "10.9.0.3 container c3: adopt",
    ]


def test_the_ledger_says_so_already() -> None:
    events = live("Allocated 10.9.0.1 ns/a\nHeld 10.9.0.2 ns/b\nReleased 10.9.0.3 ns/x")
    assert verdicts(compare(found("10.9.0.1 ns/a\n10.9.0.2 ns/b\n10.9.0.3 ns/c"), [pool()], events)) == [
        "10.9.0.1 ns/a: already so",
        "10.9.0.2 ns/b: adopt",  # the ledger kept it for this pod, and this pod has it
        "10.9.0.3 ns/c: adopt",
    ]


def test_another_owner_in_the_ledger() -> None:
    events = live("Allocated 10.9.0.1 ns/a\nHeld 10.9.0.2 ns/b")
    assert verdicts(compare(found("10.9.0.1 ns/x\n10.9.0.2 ns/y"), [pool()], events)) == [
        "10.9.0.1 ns/x: taken (allocated to ns/a in the ledger)",
        "10.9.0.2 ns/y: taken (held for ns/b in the ledger)",
    ]


def test_another_address_in_the_ledger() -> None:
    events = live("Allocated 10.9.0.1 ns/a")
    assert verdicts(compare(found("10.9.0.5 ns/a c1 eth0\n10.9.0.6 ns/a c1 net1"), [pool()], events)) == [
        "10.9.0.5 ns/a: two addresses (has 10.9.0.1 in the ledger)",
        "10.9.0.6 ns/a: adopt",  # on another interface
    ]


def test_outside_and_reserved() -> None:
    p = pool(
        span="10.9.0.0-10.9.0.20/24",
        staticReservations={"ns": {"db": "10.9.0.9"}},
    )
    lines = compare(
        found("10.8.0.1 ns/a\n10.9.0.0 ns/b\n10.9.0.9 ns/c\n10.9.0.9 ns/db\n2001:db8::1 ns/d"), [p], []
    )
    assert verdicts(lines) == [
        "10.8.0.1 ns/a: outside (in none of the pools)",
        "10.9.0.0 ns/b: reserved (the network address)",
        "10.9.0.9 ns/c: reserved (reserved for ns/db)",
        "10.9.0.9 ns/db: adopt",
        "2001:db8::1 ns/d: outside (in none of the pools)",
    ]


def test_a_record_that_names_its_pool() -> None:
    pools = [pool("p"), pool("q", addressSpace="other")]
    lines = compare(
        found("10.9.0.1 ns/a pool=q\n10.9.0.2 ns/b pool=none\n10.10.0.1 ns/c pool=q\n10.9.0.3 ns/d"),
        pools,
        [],
    )
    assert verdicts(lines) == [
        "10.9.0.1 ns/a: adopt",
        "10.9.0.2 ns/b: no pool (there is no pool of that name to adopt into)",
        "10.9.0.3 ns/d: several pools (in p, q: say which with --pool)",
        "10.10.0.1 ns/c: outside (outside pool q)",
    ]
    assert lines[0].pool == "q"


def test_two_records_that_say_the_same_are_one() -> None:
    lines = compare(found("10.9.0.1 ns/a adopted:ns/a\n10.9.0.1 ns/a c1"), [pool()], [])
    assert verdicts(lines) == ["10.9.0.1 ns/a: adopt"]
    assert lines[0].found.attachment.container_id == "c1"


def test_two_owners_of_one_address() -> None:
    text = "10.9.0.1 ns/a c1 in=x\n10.9.0.1 ns/b c2 in=y\n10.9.0.2 ns/c"
    assert verdicts(compare(found(text), [pool()], [])) == [
        "10.9.0.1 ns/a: two owners (also ns/b by test y)",
        "10.9.0.1 ns/b: two owners (also ns/a by test x)",
        "10.9.0.2 ns/c: adopt",
    ]


def test_two_addresses_of_one_owner() -> None:
    text = "10.9.0.1 ns/a c1\n10.9.0.2 ns/a c2\n10.9.0.3 ns/a c3\n10.9.0.4 ns/a c4\n10.9.0.5 ns/a c1 net1"
    assert verdicts(compare(found(text), [pool()], [])) == [
        "10.9.0.1 ns/a: two addresses (also 10.9.0.2 by test r, 10.9.0.3 by test r and 1 more)",
        "10.9.0.2 ns/a: two addresses (also 10.9.0.1 by test r, 10.9.0.3 by test r and 1 more)",
        "10.9.0.3 ns/a: two addresses (also 10.9.0.1 by test r, 10.9.0.2 by test r and 1 more)",
        "10.9.0.4 ns/a: two addresses (also 10.9.0.1 by test r, 10.9.0.2 by test r and 1 more)",
        "10.9.0.5 ns/a: adopt",
    ]


def test_one_container_as_two_pods() -> None:
    lines = compare(found("10.9.0.1 ns/a c1\n10.9.0.2 ns/b c1"), [pool()], [])
    assert [line.verdict for line in lines] == [Verdict.TWO_ADDRESSES] * 2


def test_one_owner_may_have_one_of_each_family_and_of_each_pool() -> None:
    pools = [pool("p"), pool("q", "10.10.0.1-10.10.0.9/24"), pool("r", "2001:db8::1-2001:db8::99/64")]
    lines = compare(found("10.9.0.1 c1\n10.10.0.1 c1\n2001:db8::2 c1"), pools, [])
    assert [line.verdict for line in lines] == [Verdict.ADOPT] * 3


@pytest.mark.parametrize("alive", ["c1", "c2"])
def test_a_running_sandbox_speaks_for_one_of_two(alive: str) -> None:
    for text in ("10.9.0.1 ns/a c1\n10.9.0.1 ns/b c2", "10.9.0.1 ns/a c1\n10.9.0.2 ns/a c2"):
        lines = compare(found(text), [pool()], [], alive={alive})
        [adopted] = [line for line in lines if line.verdict is Verdict.ADOPT]
        assert adopted.found.attachment.container_id == alive
        assert len(lines) == 2


def test_two_running_sandboxes_settle_nothing_and_none_is_no_evidence() -> None:
    lines = compare(
        found("10.9.0.1 ns/a c1\n10.9.0.1 ns/b c2\n10.9.0.3 c3"), [pool()], [], alive={"c1", "c2"}
    )
    assert verdicts(lines) == [
        "10.9.0.1 ns/a: two owners (also ns/b by test r)",
        "10.9.0.1 ns/b: two owners (also ns/a by test r)",
        "10.9.0.3 container c3: adopt (its container is none of the sandboxes that were given)",
    ]


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from(["ns/a", "ns/b", "c1", "c2"]), st.sampled_from(["c1", "c2", "c3"]),
                  st.sampled_from(["eth0", "net1"])),
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["ns/a", "ns/b"])), max_size=3, unique_by=lambda each: each[0]),
    st.sets(st.sampled_from(["c1", "c2", "c3"])),
)  # fmt: skip
def test_whatever_is_to_be_adopted_keeps_the_first_law(
    records: list[tuple[int, str, str, str]], known: list[tuple[int, str]], alive: set[str]
) -> None:
    text = "\n".join(
        f"10.9.0.{ip} {who} {container if '/' in who else who} {if_name}"
        for ip, who, container, if_name in records
    )
    events = live("\n".join(f"Allocated 10.9.0.{ip} {who}" for ip, who in known))
    lines = [
        line for line in compare(found(text), [pool()], events, alive=alive) if line.verdict is Verdict.ADOPT
    ]
    taken = {event.ip for event in events}
    assert not {line.found.ip for line in lines} & taken
    for unique in (
        [line.found.ip for line in lines],
        [
            (owner_key(line.found.owner, line.found.attachment), line.found.attachment.if_name)
            for line in lines
        ],
        [line.found.attachment for line in lines],
    ):
        assert len(unique) == len(set(unique))


def test_the_pools_of_the_source() -> None:
    spec = {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.9/24"}]}
    new, problems = wanted({"a": spec, "p": {}, "b": {}, "c": spec}, [pool("p", "10.1.0.0/24")])
    assert [each.name for each in new] == ["a"]
    assert [f"{each.origin} {each}" for each in problems] == [
        "ippool b spec.ipPoolSubs: must hold at least one range of addresses",
        "ippool c spec.ipPoolSubs: is in pool a too (got '10.9.0.1')",
    ]
