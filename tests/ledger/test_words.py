"""Numbers and spans, in words."""

from __future__ import annotations

from datetime import timedelta

from ledger.words import counted, spell


def test_one_is_singular() -> None:
    said = [counted(n, thing) for thing in ("event", "address", "entry") for n in (0, 1, 2_000)]
    assert said == [
        "0 events", "1 event", "2,000 events", "0 addresses", "1 address", "2,000 addresses", "0 entries", "1 entry",
        "2,000 entries",
    ]  # fmt: skip


def test_a_span_is_said_in_its_largest_unit() -> None:
    spans = [0.9, 1, 119, 3_600, 86_399, 86_400 * 1_000]
    said = [spell(timedelta(seconds=span)) for span in spans]
    assert said == ["less than a second", "1 second", "1 minute", "1 hour", "23 hours", "1,000 days"]
    assert spell(timedelta(days=-2)) == "2 days"
