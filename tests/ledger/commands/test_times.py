"""Moments on the command line: exact, with an offset, or relative; what is refused says what to write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cli.times import parse_time, shown

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin: set back on 2026-10-25 at 03:00, set forward on 2026-03-29 at 02:00."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("-2h", NOW - timedelta(hours=2)),
        ("-90m", NOW - timedelta(minutes=90)),
        ("-7d", NOW - timedelta(days=7)),
        ("-2w", NOW - timedelta(days=14)),
        ("-30s", NOW - timedelta(seconds=30)),
        ("-1d12h", NOW - timedelta(hours=36)),
        ("-0.5h", NOW - timedelta(minutes=30)),
        ("2026-11-24T14:05:00+01:00", datetime(2026, 11, 24, 13, 5, tzinfo=UTC)),
        ("2026-11-24 14:05:00+01:00", datetime(2026, 11, 24, 13, 5, tzinfo=UTC)),
        ("2026-11-24t14:05:00z", datetime(2026, 11, 24, 14, 5, tzinfo=UTC)),
        ("2026-11-24T14:05:00.5-03:30", datetime(2026, 11, 24, 17, 35, 0, 500_000, tzinfo=UTC)),
        ("2026-11-24T14:05:00.1234569Z", datetime(2026, 11, 24, 14, 5, 0, 123_456, tzinfo=UTC)),
        (" now ", NOW),
    ],
)
def test_what_is_read(text: str, moment: datetime) -> None:
    found = parse_time(text, NOW)
    assert found == moment and found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2h", "write -2h"),
        ("+2h", "write -2h"),
        ("yesterday", "RFC 3339"),
        ("", "RFC 3339"),
        ("-", "RFC 3339"),
        ("-2", "RFC 3339"),
        ("-2y", "RFC 3339"),
        ("1700000000", "RFC 3339"),
        ("2026-11-24T14:05+01:00", "write 2026-11-24T14:05:00+01:00"),
        ("2026-11-24T14:05:00+0100", "write 2026-11-24T14:05:00+01:00"),
        ("2026-13-24T14:05:00Z", "month must be in 1..12"),
        ("2026-02-30T14:05:00Z", "no moment"),
        ("2026-02-30", "no moment"),
        ("2026-11-24T25:05:00Z", "hour must be in 0..23"),
        ("0001-01-01T00:00:00+05:00", "no moment"),
        ("-9999999d", "before the year 1"),
        ("-99999999999999999999999d", "before the year 1"),
        ("٢٠٢٦-11-24T14:05:00Z", "RFC 3339"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_time(text, NOW)
    assert hint in str(refused.value)


def test_a_local_time_is_refused_with_its_offset(berlin: None) -> None:
    for text, hint in (
        (
            "2026-11-24T14:05:00",
            "write 2026-11-24T14:05:00+01:00 for the time here, or 2026-11-24T14:05:00Z for UTC",
        ),
        ("2026-07-01 14:05", "write 2026-07-01T14:05:00+02:00 for the time here"),
        ("2026-07-01", "write 2026-07-01T00:00:00+02:00 for the time here"),
        # Twice: before and after the clocks were set back
        (
            "2026-10-25T02:30:00",
            "write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00 for the time here",
        ),
        (
            "2026-03-29T02:30:00",
            "the clocks here were set forward past it: write 2026-03-29T02:30:00Z for UTC",
        ),
    ):
        with pytest.raises(ValueError) as refused:
            parse_time(text, NOW)
        assert hint in str(refused.value)


def test_a_day_ago_is_24_hours_ago_also_when_the_clocks_were_set_back(berlin: None) -> None:
    noon_after = datetime(2026, 10, 25, 11, 0, tzinfo=UTC)
    assert parse_time("-1d", noon_after) == datetime(2026, 10, 24, 11, 0, tzinfo=UTC)


def test_a_moment_is_shown_with_the_offset_that_was_in_force(berlin: None) -> None:
    assert shown("2026-10-25T00:30:00.000000Z") == "2026-10-25T02:30:00+02:00"
    assert shown("2026-10-25T01:30:00.000000Z") == "2026-10-25T02:30:00+01:00"
    assert shown(None) == ""


@given(
    st.integers(0, 130 * 365 * 86_400 * 1_000_000).map(
        lambda n: datetime(1980, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
    )
)
def test_what_is_shown_can_be_pasted_back(moment: datetime) -> None:
    assert parse_time(shown(moment), NOW) == moment
