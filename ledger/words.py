"""Numbers and spans of time, in words. Pure."""

from __future__ import annotations

from datetime import timedelta

_PLURALS = {"address": "addresses", "entry": "entries"}


def counted(number: int, thing: str) -> str:
    """``1 event``, ``2,000 events``, ``2 addresses``."""
    return f"{number:,} {thing if number == 1 else _PLURALS.get(thing, thing + 's')}"


def spell(span: timedelta) -> str:
    """``2 hours``, ``3 days``: in the largest unit that fits, rounded down."""
    seconds = int(abs(span).total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            return counted(seconds // size, name)
    return "less than a second"
