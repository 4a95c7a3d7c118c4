"""The leaf of an event is its RFC 8785 canonical JSON, exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import leaf
from ledger.events import Attachment, Event, Kind, Owner, State, from_json

NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INDIA = timezone(timedelta(hours=5, minutes=30))
moments = st.datetimes(
    datetime(2001, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds
    datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.just(INDIA),
)
specs = st.dictionaries(
    text,
    st.recursive(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text, st.lists),
    max_size=4,
)
events = st.builds(
    Event,
    seq=st.integers(1, 2**53 - 1),
    at=moments,
    kind=st.sampled_from(Kind),
    pool=text,
    ip=st.none() | st.ip_addresses().map(str),
    version=st.integers(1, 2**53 - 1),
    state=st.none() | st.sampled_from(State),
    owner=st.builds(Owner, st.none() | text, st.none() | text, st.none() | text),
    attachment=st.builds(Attachment, text, text, text),
    node=st.none() | text,
    until=st.none() | moments,
    reason=st.none() | text,
    actor=st.none() | text,
    spec=st.none() | specs,
)


@given(events)
def test_an_event_comes_back_from_its_leaf_with_the_same_leaf(event: Event) -> None:
    assert leaf(from_json(json.loads(leaf(event)))) == leaf(event)


def test_every_field_is_in_the_leaf_and_a_missing_one_is_null() -> None:
    event = Event(
        7, NOON, Kind.FREED, "p", "10.0.0.1", 3, State.FREE, Owner(), Attachment(""), None, None, None, None
    )
    assert leaf(event) == (
        b'{"actor":null,"at":"2026-11-24T12:00:00.123456Z","containerID":null,"ifName":null,"ip":"10.0.0.1",'
        b'"kind":"Freed","namespace":null,"network":null,"node":null,"pod":null,"podUID":null,"pool":"p",'
        b'"reason":null,"seq":7,"state":"free","until":null,"version":3}'
    )


def test_what_has_no_canonical_form_is_refused() -> None:
    event = Event(
        2**53, NOON, Kind.FREED, "p", None, 1, None, Owner(), Attachment(""), None, None, None, None
    )
    with pytest.raises(ValueError, match="exceeds safe integer"):
        leaf(event)
    half = Event(
        1, NOON, Kind.FREED, "\ud800", None, 1, None, Owner(), Attachment(""), None, None, None, None
    )
    with pytest.raises(ValueError, match="non-UTF-8"):
        leaf(half)
