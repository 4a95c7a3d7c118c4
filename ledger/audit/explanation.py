"""One address, explained: sentences about what it is, since when and why, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ledger.addresses import canonical
from ledger.audit.names import pools_around, pools_once_around
from ledger.audit.words import who_is
from ledger.errors import UnknownAddress
from ledger.events import Event, Kind, State, rfc3339
from ledger.pools import PoolSpec
from ledger.store import Database, Tx, history
from ledger.store.rows import PoolRow
from ledger.words import spell


@dataclass(frozen=True, slots=True)
class Explained:
    """What one pool says of an address: sentences for people; the newest event for programs (None: never used)."""

    pool: str
    sentences: tuple[str, ...]
    event: Event | None

    def to_json(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "event": self.event.to_json() if self.event else None,
            "sentences": list(self.sentences),
        }


REASONS: Final = {
    "random": "picked at random among the free ones",
    "lowest": "the lowest that was free",
    "reassigned": "the pod was relaunched and took over the address that it still held",
    "static": "the pool's staticReservations say so",
    "requested": "this address was asked for",
    "returning": "the owner had it last",
    "del": "the runtime's DEL",
    "gc": "the runtime's GC: the attachment was no longer valid",
}
"""The book's own reasons in words; any other is a person's, or evidence, and is quoted."""


def explain(
    database: Database, ip: str, now: datetime, *, moment: Callable[[datetime], str] = rfc3339
) -> list[Explained]:
    """What the address is in each pool that has it, since when and why, and what comes next.

    ``moment`` writes a time. Raises UnknownAddress, InvalidInput.
    """
    ip = canonical(ip, "ip")
    with database.read() as tx:
        around = pools_around(tx, ip)
        newest = {event.pool: event for event in history.newest(tx, ip)}
        names = around.keys() | newest.keys() or pools_once_around(tx, ip)
        if not names:
            raise UnknownAddress(ip)
        rows = [row for row in history.pools(tx) if row.name in names]
        out = []
        for row in sorted(rows, key=lambda row: (not row.live, row.name)):
            event = newest.get(row.name)
            told = _Teller(tx, row, around.get(row.name), ip, now, moment).tell(event)
            out.append(Explained(row.name, tuple(told), event))
    return out


@dataclass(frozen=True, slots=True)
class _Teller:
    """The sentences about one address in one pool. ``spec`` None: the address is no longer in the pool's ranges."""

    tx: Tx
    row: PoolRow
    spec: PoolSpec | None
    ip: str
    now: datetime
    moment: Callable[[datetime], str]

    def tell(self, event: Event | None) -> Iterator[str]:
        here = f"{self.ip} of pool {self.row.name!r}"
        withheld = self._withheld()
        if not self.row.live:
            gone = history.pool_event(self.tx, self.row.id)
            yield f"Pool {self.row.name!r} was deleted{f' {self._when(gone.at)}' if gone else ''}; it gives nothing out."
        if event is None:
            yield f"{here} {withheld}." if withheld else f"{here} is free; nobody has ever had it."
        else:
            yield f"{here} is {self._now_is(event)}."
            yield self._since(event)
            if event.state is not State.ALLOCATED:
                yield from self._last_had(event)
            if withheld:
                yield f"It {withheld}."
        if self.row.live and event is not None:
            yield from self._next(event)
        yield from self._reserved()

    def _withheld(self) -> str | None:
        sub = self.spec.sub_around(self.ip) if self.spec else None
        if sub is None:
            return "is no longer in the pool's ranges" if self.row.live else None
        why = sub.why_not(self.ip)
        return f"is never given out: {why}" if why else None

    def _now_is(self, event: Event) -> str:
        who = who_is(event)
        match event.state:
            case State.ALLOCATED:
                at = event.attachment
                how = [f"uid {event.owner.uid}"] if event.owner.uid else []
                how += [f"container {at.container_id}"] if event.owner.is_pod and at.container_id else []
                how += [f"interface {at.if_name}"] if at.if_name else []
                how += [f"network {at.network}"] if at.network else []
                node = f" on node {event.node}" if event.node else ""
                return f"allocated to {who}{node}" + (f" ({', '.join(how)})" if how else "")
            case State.HELD:
                return f"held for {who}"
            case State.COOLING:
                return f"cooling; {who} had it last"
            case _:
                return "free"

    def _since(self, event: Event) -> str:
        done = {
            Kind.ALLOCATED: "allocated",
            Kind.ADOPTED: "adopted, for its owner had it already",
            Kind.RELEASED: "released",
            Kind.RECLAIMED: "reclaimed, for its owner had ended",
            Kind.HELD: "put on hold",
            Kind.FREED: "freed",
        }.get(event.kind, str(event.kind))
        why = f"“{event.reason}”" if event.reason else "no reason given"
        if not (event.actor or "").startswith("cli/"):  # there it is a person's word, whatever it is
            why = REASONS.get(event.reason or "", why)
        by = f", by {event.actor}" if event.actor else ""
        return f"So since {self._when(event.at)}: {done} ({why}{by}; event {event.seq})."

    def _last_had(self, event: Event) -> Iterator[str]:
        before = history.preceding(self.tx, event, State.ALLOCATED)
        if before is not None:
            after = history.following(self.tx, before)
            until = f" until {self.moment(after.at)}" if after else ""
            who = who_is(before)
            yield f"{who[:1].upper()}{who[1:]} had it from {self.moment(before.at)}{until}."

    def _next(self, event: Event) -> Iterator[str]:
        state, until = event.state, event.until
        if until is not None and until <= self.now and state is not State.ALLOCATED:
            yield f"That ended {self._when(until)}: the next sweep frees it, or an ADD that finds nothing else."
            return
        match state:
            case State.ALLOCATED:
                if event.owner.is_pod:
                    yield (
                        "It stays so until the DEL of this very attachment, or until the pool is full and there is positive "
                        "evidence that the pod has ended. A relaunched pod of the same name takes it over."
                    )
                else:
                    yield (
                        "It stays so until it is released, or until the pool is full and whoever gives evidence says that this "
                        "owner has ended. No sweep takes it: its owner is no pod."
                    )
            case State.HELD:
                span = f"until {self.moment(until)}" if until else "while its owner exists"
                yield f"It is kept for that owner {span}; nobody else gets it."
            case State.COOLING:
                assert until is not None
                yield (
                    f"It cools until {self._when(until)}; until then only its last owner gets it, and then it is free."
                )
            case _:
                live = history.live_row(self.tx, self.row.id, self.ip)
                if live is not None and live.rnd is not None:
                    yield "Anybody may get it; its last owner, if it comes back first."

    def _reserved(self) -> Iterator[str]:
        owner = self.spec.static_owner(self.ip) if self.spec else None
        if owner is not None and self.row.live:
            yield f"It is statically reserved for pod {'/'.join(owner)}; nobody else gets it."

    def _when(self, at: datetime) -> str:
        from_now = at - self.now
        span = spell(from_now)
        return f"{self.moment(at)} ({f'in {span}' if from_now > timedelta(0) else f'{span} ago'})"
