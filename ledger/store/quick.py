"""The quick forms of the common ADD and of the DEL: many at once, in as few round trips as the engine allows.

What cannot be settled so (a full sub, a lost race, an outdated spec) is left out of the answer, unchanged, for the
book to settle step by step. One form for each dialect, the same answers: one contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.claims import Claim
from ledger.events import Attachment, Event
from ledger.store.database import Tx


@dataclass(frozen=True, slots=True)
class Picks:
    """Picks that have everything but the claim in common: one family of one pool at one version of its spec.

    ``sub`` is the ordinal to pick a new address from, ``subs`` all those that a returning owner may go back to;
    ``start`` after which place in the picking order to begin; ``reason`` of a new pick.
    """

    pool_id: int
    pool: str
    version: int
    family: int
    sub: int
    subs: Sequence[int]
    start: int
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A pick that was settled: which claim (its index), the address, and the event (None: it was held already)."""

    index: int
    ip: str
    event: Event | None


def allocate(tx: Tx, picks: Picks, claims: Sequence[tuple[int, Claim]]) -> list[Settled]:
    """Settle what can be settled quickly; claims are given as (index, claim), no two of one owner. Raises Conflict for a lost race."""
    if tx.sqlite:
        from ledger.store import quick_sqlite

        return quick_sqlite.allocate(tx, picks, claims)
    from ledger.store import quick_postgresql

    return quick_postgresql.allocate(tx, picks, claims)


def sweep(tx: Tx, limit: int, pool_id: int | None, actor: str) -> list[Event]:
    """Free cooling and held addresses whose time has come, of one pool or of all, at most so many; those others are at are passed over."""
    if tx.sqlite:
        from ledger.store import quick_sqlite

        return quick_sqlite.sweep(tx, limit, pool_id, actor)
    from ledger.store import quick_postgresql

    return quick_postgresql.sweep(tx, limit, pool_id, actor)


def release(tx: Tx, attachments: Sequence[Attachment], reason: str, actor: str) -> list[list[Event]]:
    """Release what each attachment holds, if anything; the events of each, in the order given."""
    if tx.sqlite:
        from ledger.store import quick_sqlite

        return quick_sqlite.release(tx, attachments, reason, actor)
    from ledger.store import quick_postgresql

    return quick_postgresql.release(tx, attachments, reason, actor)
