"""When a pool will be full: only where it fills steadily, and not bent by a night or by a deployment that came and went."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.forecast import ENOUGH, Sample, full_in

DAY = 86_400.0


def days(*used: int) -> list[Sample]:
    return [Sample(n * DAY, count) for n, count in enumerate(used)]


def test_a_steady_pace_goes_on() -> None:
    assert full_in(days(*range(100, 200, 10)), 280) == timedelta(days=9)


def test_a_deployment_that_came_and_went_does_not_bend_it() -> None:
    spike = [100, 110, 120, 130, 900, 150, 160, 170, 180, 190]
    found = full_in(days(*spike), 280)
    assert found is not None and timedelta(days=8) < found < timedelta(days=10)


@pytest.mark.parametrize(
    ("used", "capacity", "why"),
    [
        ((5,) * 20, 100, "flat"),
        (tuple(range(90, 70, -1)), 100, "emptying"),
        ((50, 60, 40, 55, 45, 60, 50, 40, 55, 45, 50, 60), 100, "noise"),
        (tuple(range(ENOUGH - 1)), 100, "too few samples"),
        (tuple(range(20)), 100_000, "further ahead than anybody can tell"),
        ((), 100, "no past"),
    ],
)
def test_where_it_cannot_be_told_nothing_is_said(used: tuple[int, ...], capacity: int, why: str) -> None:
    assert full_in(days(*used), capacity) is None, why


def test_a_full_pool_is_full_now() -> None:
    assert full_in(days(10, 50, 100), 100) == timedelta(0)
    assert full_in(days(10, 50, 101), 100) == timedelta(0), "a pool that was made smaller"


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 2000))
def test_whatever_happened_the_forecast_is_in_the_future_and_within_reach(
    used: list[int], capacity: int
) -> None:
    found = full_in(days(*used), capacity)
    if found is not None:
        assert timedelta(0) <= found <= timedelta(days=10 * max(1, len(used)))
        assert (found == timedelta(0)) is (used[-1] >= capacity) or found > timedelta(0)
