"""Addresses that may have leaked, and what else in the live state is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger import verify as truth
from ledger.addresses import to_int
from ledger.events import Event, State, rfc3339
from ledger.evidence import FAILURES, Source
from ledger.store import Database, follow, history
from ledger.store import verify as looks
from ledger.verify import Finding

OVERDUE: Final = timedelta(minutes=15)
"""How long after its end a cooling or held address is found by ``check``: sweeps come every few seconds to a minute."""

MOST: Final = 1_000
"""Overdue addresses that are named; as many again of pods that were seen with another UID."""

Ended = Callable[[Sequence[Event]], Iterator[tuple[Event, str]]]
"""Whom to ask about many owners at once: the newest events of allocated addresses -> those whose owners have ended, and why."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An address that may have leaked: it is allocated, and there is evidence that its owner is no more."""

    event: Event
    evidence: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """``findings``: what should not be. ``suspects``: addresses that may have leaked.

    ``asked``: addresses about whose owners evidence was sought.
    """

    findings: tuple[Finding, ...]
    suspects: tuple[Suspect, ...]
    asked: int


def check(database: Database, now: datetime, *, ended: Ended | None = None) -> CheckReport:
    """Look for what should not be in the live state, and for leaks. Far quicker than ``verify``: it replays nothing.

    ``ended``: asked about every owner that holds an address, outside any transaction.
    """
    findings: list[Finding] = []
    with database.read() as tx:
        for each in (truth.pool_rows, truth.places, truth.owners):
            findings += each(tx, lambda more: None)
        for name, ip, state, until in looks.overdue(tx, now - OVERDUE, MOST):
            what = (
                f"{ip} of pool {name!r} is {state}, but its time ended at {rfc3339(until)}: does a sweep run?"
            )
            findings.append(Finding(what, name, ip))
        suspects = [
            Suspect(
                event,
                f"pod {seen.owner.namespace}/{seen.owner.pod} got {seen.ip} of pool {seen.pool!r} with another UID "
                f"({seen.owner.uid}) at {rfc3339(seen.at)} (event {seen.seq})",
            )
            for event, seen in looks.superseded(tx, MOST)
        ]
        holding = list(follow.used_addresses(tx, (State.ALLOCATED,))) if ended else []
    if ended is not None:
        told = list(ended(holding))
        with database.read() as tx:
            for event, why in told:
                now_is = next(
                    (each for each in history.newest(tx, event.ip or "") if each.pool == event.pool), None
                )
                if now_is is not None and now_is.version == event.version:  # else it moved on while we asked
                    suspects.append(Suspect(now_is, why))
    suspects.sort(key=lambda suspect: (suspect.event.pool, to_int(suspect.event.ip or "")))
    return CheckReport(tuple(findings), tuple(suspects), len(holding))


class AskEach:
    """Evidence that is asked about one owner at a time, as ``Ended``. ``unanswered``: what went wrong instead, and how often."""

    def __init__(self, evidence: Source, progress: Callable[[int], object] = lambda more: None) -> None:
        self._evidence = evidence
        self._progress = progress
        self.unanswered: Counter[str] = Counter()

    def __call__(self, holding: Sequence[Event]) -> Iterator[tuple[Event, str]]:
        for event in holding:
            try:
                why = self._evidence.ask(event)
            except FAILURES as error:
                self.unanswered[f"{self._evidence}: {getattr(error, 'strerror', None) or error}"] += 1
                why = None
            self._progress(1)
            if why is not None:
                yield event, why
