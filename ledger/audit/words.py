"""Owners, in words."""

from __future__ import annotations

from ledger.events import Event, holder


def who_is(event: Event) -> str:
    """The (last) owner of an event, for a sentence."""
    if not (event.owner.is_pod or event.attachment.container_id):
        return "nobody"
    return f"{'pod ' if event.owner.is_pod else ''}{holder(event.owner, event.attachment)}"
