"""Having the book adopt what ``compare`` found good, in batches. Knows the book only by what it asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ledger.adoption.verdict import Line, Verdict
from ledger.claims import Claim
from ledger.errors import AddressReserved, AddressTaken, LedgerError, OwnerHasAnother, UnknownPool
from ledger.events import Event

BATCH = 200
"""Adoptions a transaction: short enough that no ADD waits long behind it."""


class Adopts(Protocol):
    def adopt_many(self, adoptions: Sequence[tuple[Claim, str]]) -> list[Event | LedgerError | None]: ...


def perform(book: Adopts, lines: Sequence[Line], done: Callable[[int], None]) -> Iterator[Line]:
    """Each line with what has become of it; ``done`` hears how many more. Lines that are not to be adopted pass unchanged.

    Each batch is committed before its lines come out: whoever stops in between has adopted what came out, and may
    begin again. Raises TryAgain like the book; then the same holds.
    """
    waiting = [line for line in lines if line.verdict is Verdict.ADOPT]
    yield from (line for line in lines if line.verdict is not Verdict.ADOPT)
    for at in range(0, len(waiting), BATCH):
        batch = waiting[at : at + BATCH]
        outcomes = book.adopt_many([(line.claim(), line.found.ip) for line in batch])
        done(len(batch))
        for line, outcome in zip(batch, outcomes, strict=True):
            yield _became(line, outcome)


def _became(line: Line, outcome: Event | LedgerError | None) -> Line:
    """Refusals come of what has changed since the comparison."""
    if outcome is None:
        return replace(line, verdict=Verdict.SAME)
    if isinstance(outcome, Event):
        return replace(line, verdict=Verdict.ADOPTED)
    verdicts: tuple[tuple[type[LedgerError], Verdict], ...] = (
        (AddressTaken, Verdict.TAKEN),
        (OwnerHasAnother, Verdict.TWO_ADDRESSES),
        (AddressReserved, Verdict.RESERVED),
        (UnknownPool, Verdict.NO_POOL),
    )
    verdict = next((each for kind, each in verdicts if isinstance(outcome, kind)), Verdict.OUTSIDE)
    return replace(line, verdict=verdict, why=str(outcome))
