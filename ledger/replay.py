"""Replay: which event may follow which, and what the events make of an address. Pure.

The state of an address is its newest event, since an event carries the whole state; replay therefore *checks* more than
it folds. The rules stand here once: ``verify`` asks the database which combinations there are and holds them
against ``wrong``, and the tests go event by event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.events import Attachment, Event, Kind, Owner, State

_F, _A, _C, _H = State.FREE, State.ALLOCATED, State.COOLING, State.HELD

LEGAL: Final[Mapping[Kind, tuple[frozenset[State], frozenset[State]]]] = {
    Kind.ALLOCATED: (frozenset((_F, _C, _H, _A)), frozenset((_A,))),
    Kind.ADOPTED: (frozenset((_F, _C, _H)), frozenset((_A,))),
    Kind.RELEASED: (frozenset((_A, _H)), frozenset((_F, _C))),
    Kind.RECLAIMED: (frozenset((_A, _H)), frozenset((_F, _C))),
    Kind.HELD: (frozenset((_A, _F, _C, _H)), frozenset((_H,))),  # held → held: another end
    Kind.FREED: (frozenset((_C, _H)), frozenset((_F,))),
}
"""Kind -> the states an address may be in before, and after. Before its first event an address is free."""

GIVES: Final = frozenset((Kind.ALLOCATED, Kind.ADOPTED))
"""The kinds that name a new owner; every other keeps the owner that the address has (or had last)."""

POOL_LEGAL: Final[Mapping[Kind, tuple[bool, bool]]] = {
    Kind.POOL_CREATED: (False, True),
    Kind.POOL_UPDATED: (True, True),
    Kind.POOL_DELETED: (True, False),
}
"""Kind -> whether the pool is live before, and after. A deleted pool may be created again; its stream goes on."""


def wrong(
    kind: str,
    before: str | None,
    after: str | None,
    *,
    same_owner: bool = True,
    has_until: bool = False,
    back: bool = False,
) -> str | None:
    """What is wrong with an event of an address, in words; None if nothing is.

    ``before`` None: it is the first of its stream. ``same_owner``: whether owner, attachment and node are those of the event
    before. ``back``: whether its time is before that event's.
    """
    try:
        known, left, became = Kind(kind), State(before or _F), State(after or "")
    except ValueError:
        return f"{kind} from {before} to {after}: not a kind and states of this ledger"
    if known.of_pool:
        return f"{kind} is of a pool, but names an address"
    may_leave, may_become = LEGAL[known]
    if left not in may_leave:
        return f"{kind} of an address that was {left}"
    if became not in may_become:
        return f"{kind} left the address {became}"
    if known not in GIVES and before is None:
        return f"{kind} of an address that nobody ever had"
    if known not in GIVES and not same_owner:
        return f"{kind} changed the owner"
    if has_until != (became is _C) and became is not _H:
        return f"{kind} left the address {became} {'with' if has_until else 'without'} an end"
    if back:
        return f"{kind} is earlier than the event before it"
    return None


def wrong_of_pool(kind: str, live: bool, *, back: bool) -> str | None:
    """What is wrong with an event of a pool that was ``live`` or not before it."""
    try:
        needs, _ = POOL_LEGAL[Kind(kind)]
    except (KeyError, ValueError):
        return f"{kind} is not of a pool, but names no address"
    if needs != live:
        return f"{kind} of a pool that {'was there already' if live else 'was not there'}"
    return f"{kind} is earlier than the event before it" if back else None


def holder(event: Event) -> tuple[Owner, Attachment, str | None]:
    """What stays with an address when it is released or held: owner, attachment and node."""
    return event.owner, event.attachment, event.node
