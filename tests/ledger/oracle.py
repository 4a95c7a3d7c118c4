"""A history read event by event in Python, against which what the database answers about sets is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from ledger.events import Event, Holding, Kind, State
from ledger.replay import holder, wrong, wrong_of_pool


def wrong_event(before: Event | None, event: Event) -> str | None:
    """What is wrong with an event after the one before it in its stream (None: it is the first), pools' events too."""
    version = before.version + 1 if before else 1
    if event.version != version:
        return f"version {event.version} comes where {version} should"
    if event.kind.of_pool:
        live = before is not None and before.kind is not Kind.POOL_DELETED
        return wrong_of_pool(event.kind, live, back=before is not None and event.at < before.at)
    return wrong(
        event.kind,
        before.state if before else None,
        event.state,
        same_owner=before is not None and holder(before) == holder(event),
        has_until=event.until is not None,
        back=before is not None and event.at < before.at,
    )


def breaches(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """Every event that breaks a rule, and how; events come in the order of their positions."""
    newest: dict[tuple[str, str | None], Event] = {}
    for event in events:
        key = event.pool, event.ip
        if why := wrong_event(newest.get(key), event):
            yield event, why
        newest[key] = event


def as_of(stream: Sequence[Event], at: datetime) -> Event | None:
    """The newest event of a stream at a moment; one at that very instant counts. None before its first."""
    return next((event for event in reversed(stream) if event.at <= at), None)


def holdings(stream: Sequence[Event]) -> Iterator[Holding]:
    """The spans in which somebody had the address in use, ``[since, until)``, oldest first.

    A span is one event: a pod that was relaunched begins a new one. One without length is none, for at no moment was it so.
    """
    for number, event in enumerate(stream):
        until = stream[number + 1].at if number + 1 < len(stream) else None
        if event.state is State.ALLOCATED and (until is None or until > event.at):
            yield Holding(event, until)
