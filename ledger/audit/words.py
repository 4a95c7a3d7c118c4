"""Owners and spans of time, in words."""

from __future__ import annotations

from datetime import timedelta

from ledger.events import Event, holder


def who_is(event: Event) -> str:
    """The (last) owner of an event, for a sentence."""
    if not (event.owner.is_pod or event.attachment.container_id):
        return "nobody"
    return f"{'pod ' if event.owner.is_pod else ''}{holder(event.owner, event.attachment)}"


def spell(span: timedelta) -> str:
    """``2 hours``, ``3 days``: in the largest unit that fits, rounded down."""
    seconds = int(abs(span).total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {name}{'s' if count != 1 else ''}"
    return "less than a second"
