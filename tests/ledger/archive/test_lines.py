"""Lines that are read together and lines that are read one by one: the same rows, and the same refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.archive.lines import NotAnEvent, _alone, _together, parse
from ledger.canonical import canonical
from ledger.events import Kind, State

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
MOMENT = (
    st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).filter(lambda text: len(text) == 27)
)
NAMED = TEXT.filter(bool)
EVENT = st.fixed_dictionaries(
    {
        "actor": st.none() | TEXT, "at": MOMENT, "containerID": st.none() | NAMED, "ifName": st.none() | NAMED,
        "ip": st.ip_addresses().map(str), "kind": st.sampled_from([str(kind) for kind in Kind]), "namespace": st.none() | TEXT,
        "network": st.none() | NAMED, "node": st.none() | TEXT, "pod": st.none() | TEXT, "podUID": st.none() | TEXT,
        "pool": TEXT, "reason": st.none() | TEXT, "seq": st.integers(1, 2**53 - 1),
        "state": st.sampled_from([str(state) for state in State]), "until": st.none() | MOMENT,
        "version": st.integers(1, 2**53 - 1),
    }
)  # fmt: skip
PLAIN: dict[str, Any] = {
    "actor": "agent/n", "at": "2026-11-24T10:00:00.123456Z", "containerID": "c", "ifName": "eth0", "ip": "10.0.0.1",
    "kind": "Allocated", "namespace": "ns", "network": "net", "node": "n", "pod": "p", "podUID": "u", "pool": "ippool",
    "reason": "random", "seq": 7, "state": "allocated", "until": None, "version": 3,
}  # fmt: skip


@given(st.lists(EVENT, min_size=1, max_size=5))
def test_any_events_of_addresses_are_read_together_as_they_are_one_by_one(
    events: list[dict[str, Any]],
) -> None:
    lines = [canonical(event) for event in events]
    rows = [_alone(index, line) for index, line in enumerate(lines)]
    assert _together(lines) == rows == parse(lines)
    assert [row[0] for row in rows] == [event["seq"] for event in events]


def test_an_event_of_a_pool_between_them_is_read_too() -> None:
    created = PLAIN | {"ip": None, "state": None, "kind": "PoolCreated", "spec": {"b": 1, "a": "\u00e9"}}
    lines = [canonical(PLAIN), canonical(created), canonical(PLAIN)]
    assert [row[17] for row in parse(lines)] == [None, created["spec"], None]
    assert parse([]) == []


def spelled(**changes: Any) -> bytes:
    return canonical(PLAIN | changes)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (spelled(seq=0), "seq is not a number from 1"),
        (spelled(seq=True), "seq is not a number from 1"),
        (spelled(seq="7"), "a field is not text|seq is not a number"),
        (canonical(PLAIN).replace(b'"seq":7', b'"seq":7.0'), "seq is not a number from 1"),
        (canonical(PLAIN).replace(b'"seq":7', b'"seq":9007199254740992'), "safe integer"),
        (canonical(PLAIN).replace(b'"seq":7', b'"seq":' + b"9" * 40), "safe integer"),
        (spelled(version=-1), "version is not a number from 1"),
        (spelled(pod=5), "a field is not text"),
        (spelled(pool=None), "it names no pool"),
        (spelled(pod="a\0b"), "NUL"),
        (spelled(kind="Vanished"), "not a kind and a state"),
        (spelled(state="lost"), "not a kind and a state"),
        (spelled(ip=None), "neither an address's nor a pool's"),
        (spelled(state=None), "neither an address's nor a pool's"),
        (spelled(spec={}), "neither an address's nor a pool's"),
        (spelled(containerID=""), "canonical"),
        (spelled(ifName=""), "canonical"),
        (spelled(network=""), "canonical"),
        (spelled(comment="trust me"), "fields"),
        (canonical({k: v for k, v in PLAIN.items() if k != "node"}), "fields"),
        (spelled(at=None), "not a time"),
        (spelled(at="2026-11-24T10:00:00.123456+"), "not a time"),
        (spelled(at="2026-11-24 10:00:00.123456Z"), "not a time"),
        (spelled(at="2026-11-24T10:00:00,123456Z"), "not a time"),
        (spelled(at="2026-11-24T10:00:00.12345\u0663Z"), "not a time"),
        (spelled(at="2026-11-24T10:00:00.12345xZ"), "not a time"),
        (spelled(at="2026-13-24T10:00:00.123456Z"), "not a time"),
        (spelled(at="2026-11-24T24:00:00.123456Z"), "not a time"),
        (spelled(until="soon"), "not a time"),
        (json.dumps(PLAIN).encode(), "canonical"),
        (json.dumps(PLAIN, separators=(",", ":"), sort_keys=True).replace("10.0", "\\u0031" + "0.0").encode(), "canonical"),
        (canonical(PLAIN)[:-1] + b',"version":3}', "canonical"),
        (canonical(PLAIN) + b"," + canonical(PLAIN), "Extra data"),
        (canonical(PLAIN)[:-1], "delimiter"),
        (b'{"actor":"\xff"}', "utf-8"),
        (b'{"actor":' + b"[" * 100_000, "recursion"),
        (b"[]", "fields"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_and_said_which(line: bytes, why: str) -> None:
    good = canonical(PLAIN)
    for lines in ([line], [good, line, good]):
        with pytest.raises(NotAnEvent, match=f"(?i){why}") as refused:
            parse(lines)
        assert refused.value.index == lines.index(line)


def test_two_halves_do_not_make_a_line() -> None:
    """Joined by the comma that stands between lines, they would be JSON again."""
    whole = spelled(actor='x,{"actor":y')
    for at in range(1, len(whole)):
        left, comma, right = whole[:at], whole[at : at + 1], whole[at + 1 :]
        if comma == b",":
            with pytest.raises(NotAnEvent):
                parse([left, right])
