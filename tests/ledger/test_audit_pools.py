"""A whole pool at a moment, what changed between two, and a pool over time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ledger import audit
from ledger.errors import PoolNotThen, UnknownPool
from ledger.store import Database
from tests.ledger.chronicle import Chronicle, moment


@pytest.fixture
def told(db_url: str) -> Iterator[Chronicle]:
    database = Database(db_url)
    chronicle = Chronicle(database)
    chronicle.write(
        """
        10:00 p PoolCreated 10.8.0.0/28
        10:01 p 10.8.0.10 Allocated default/a uid=u1
        10:02 p 10.8.0.9  Allocated default/b
        10:03 p 10.8.0.9  Released
        10:04 p 10.8.0.9  Allocated default/c
        10:05 p 10.8.0.10 Allocated default/a uid=u2
        10:06 p 10.8.0.9  Released until=10:20
        10:07 p 10.8.0.2  Allocated router
        10:08 p 10.8.0.10 Held
        10:09 p PoolUpdated 10.8.0.0/27
        """
    )
    yield chronicle
    database.close()


def at(told: Chronicle, when: str, *, free: bool = False) -> list[str]:
    then = audit.pool_at(told.database, "p", moment(when), free=free)
    return [f"{event.ip} {event.state} {event.owner.pod}" for event in then.addresses]


def test_a_pool_at_a_moment_stands_in_the_order_of_its_addresses(told: Chronicle) -> None:
    assert at(told, "10:02:59.999999") == ["10.8.0.9 allocated b", "10.8.0.10 allocated a"]
    assert at(told, "10:03") == ["10.8.0.10 allocated a"]
    assert at(told, "10:03", free=True) == ["10.8.0.9 free b", "10.8.0.10 allocated a"]
    assert at(told, "23:00") == ["10.8.0.2 allocated router", "10.8.0.9 cooling c", "10.8.0.10 held a"]


def test_its_figures_are_those_of_then(told: Chronicle) -> None:
    def figures(when: str, *, free: bool = False) -> tuple[int, ...]:
        found = audit.pool_at(told.database, "p", moment(when), free=free).to_json()
        return tuple(found[key] for key in ("capacity", "allocated", "held", "cooling", "free"))

    assert figures("10:00") == (14, 0, 0, 0, 14)
    assert figures("10:03", free=True) == (14, 1, 0, 0, 13)
    assert figures("10:08") == (14, 1, 1, 1, 11)
    assert figures("10:09") == (30, 1, 1, 1, 27), "the pool was larger from then on"


def test_before_it_was_made_and_after_it_was_deleted_there_is_no_pool(told: Chronicle) -> None:
    told.write(
        """
        11:00 q PoolCreated 10.9.0.0/29
        11:30 q PoolDeleted
        12:00 q PoolCreated 10.9.0.0/30
        """
    )
    for when, why in (
        ("10:59", "created later"),
        ("11:30", "deleted at 2024-11-24T11:30"),
        ("11:59", "deleted"),
    ):
        with pytest.raises(PoolNotThen, match=why):
            audit.pool_at(told.database, "q", moment(when))
    assert audit.pool_at(told.database, "q", moment("11:29")).spec.capacity == 6
    assert audit.pool_at(told.database, "q", moment("12:00")).spec.capacity == 2
    with pytest.raises(UnknownPool):
        audit.pool_at(told.database, "no-such-pool", moment("12:00"))


def changes(told: Chronicle, since: str, until: str) -> list[str]:
    found = audit.diff(told.database, "p", moment(since), moment(until))
    return [f"{change.after.ip} {change.what} ({change.events})" for change in found.changes]


def test_a_diff_is_what_is_different_at_the_end(told: Chronicle) -> None:
    assert changes(told, "10:00", "10:01") == ["10.8.0.10 given (1)"]
    assert changes(told, "10:01", "10:01") == []
    assert changes(told, "10:02", "10:05") == ["10.8.0.9 passed on (2)", "10.8.0.10 relaunched (1)"]
    assert changes(told, "10:05", "10:08") == [
        "10.8.0.2 given (1)",
        "10.8.0.9 cooling (1)",
        "10.8.0.10 held (1)",
    ]
    assert changes(told, "10:02", "10:03") == ["10.8.0.9 freed (1)"]


def test_an_address_that_came_back_is_counted_not_listed(told: Chronicle) -> None:
    found = audit.diff(told.database, "p", moment("10:01"), moment("10:03"))
    assert (found.changes, found.back) == ((), 1), "10.8.0.9 was given and freed in between"


def test_a_diff_tells_of_the_spec_too(told: Chronicle) -> None:
    assert not audit.diff(told.database, "p", moment("10:00"), moment("10:08")).spec_changed
    changed = audit.diff(told.database, "p", moment("10:08"), moment("10:09"))
    assert changed.spec_changed and changed.spec_before and changed.spec_after
    assert (changed.spec_before.capacity, changed.spec_after.capacity) == (14, 30)
    created = audit.diff(told.database, "p", moment("09:00"), moment("10:01"))
    assert created.spec_before is None and created.spec_changed and len(created.changes) == 1
    with pytest.raises(PoolNotThen):
        audit.diff(told.database, "p", moment("08:00"), moment("09:00"))
    told.write(
        """
        10:10 p 10.8.0.2  Released
        10:10 p 10.8.0.10 Freed
        10:20 p 10.8.0.9  Freed
        10:30 p PoolDeleted
        """
    )
    deleted = audit.diff(told.database, "p", moment("10:09"), moment("10:30"))
    assert deleted.spec_after is None and [change.what for change in deleted.changes] == ["freed"] * 3


def test_a_pool_over_time_is_counted_back_from_now(told: Chronicle) -> None:
    usage = audit.usage(told.database, "p", moment("10:10"))
    assert usage is not None and usage.capacity == 30
    assert usage.since == moment("10:00") and len(usage.used) == audit.USAGE_POINTS

    def used(when: str) -> int:
        """At the end of the part that ends then: a part is ten seconds."""
        return usage.used[round((moment(when) - usage.since) / timedelta(seconds=10)) - 1]

    assert [used(f"10:0{n}:50") for n in range(10)] == [0, 1, 2, 1, 2, 2, 2, 3, 3, 3]
    assert usage.full_in is None or usage.full_in > timedelta(minutes=10)
    with pytest.raises(UnknownPool):
        audit.usage(told.database, "no-such-pool", moment("10:10"))
    assert audit.usage(told.database, "p", moment("10:00")) is None
