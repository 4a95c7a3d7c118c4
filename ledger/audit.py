"""Questions about now and about any past moment, answered from the ledger alone.

What "had" means: somebody has an address while its state is ``allocated``, in the half-open span ``[from, until)`` that
begins with the event and ends with the next one of the same stream. At the very instant of an event its new state
counts. So a pod that was relaunched begins a new holding, a holding without length never was, and a ``held`` or ``cooling``
address is nobody's: it is kept for somebody. ``explain`` tells about those.

The same address may be in pools of several address spaces, and may have been in several pools one after the other: answers name
the pool, and there may be several of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ledger import pools
from ledger import verify as truth
from ledger.addresses import canonical, sort_key
from ledger.errors import PoolNotThen, UnknownAddress, UnknownPool
from ledger.events import Event, Holding, Kind, State, rfc3339
from ledger.evidence import Evidence
from ledger.forecast import Sample, full_in
from ledger.pools import PoolSpec
from ledger.replay import holder
from ledger.store import Database, Tx, follow, history
from ledger.store import verify as looks
from ledger.store.history import Wanted
from ledger.store.rows import AddressRow, PoolRow
from ledger.verify import Finding

__all__ = ["Change", "Diff", "Explained", "Finding", "PoolThen", "Wanted"]


# Who had an address -----------------------------------------------------------------------------


def who_had(
    database: Database, ip: str, at: datetime | None = None, *, pool: str | None = None
) -> list[Holding]:
    """Who has the address now, or had it at a moment: one holding for each pool in which somebody did, by the pool's name.

    [] means nobody. Raises UnknownAddress if no pool ever had it, UnknownPool, InvalidInput.
    """
    ip = canonical(ip, "ip")
    with database.read() as tx:
        return [
            Holding(event, following.at if following else None)
            for event in _states(tx, ip, at, pool)
            if event.state is State.ALLOCATED
            for following in (history.following(tx, event),)
        ]


def states(
    database: Database, ip: str, at: datetime | None = None, *, pool: str | None = None
) -> list[Event]:
    """The newest event of the address in each pool at a moment, whatever its state. Raises as ``who_had``."""
    with database.read() as tx:
        return _states(tx, canonical(ip, "ip"), at, pool)


def _states(tx: Tx, ip: str, at: datetime | None, name: str | None) -> list[Event]:
    found = history.newest(tx, ip, at)
    if name is None:
        if not found and not history.newest(tx, ip) and not _pools_around(tx, ip):
            raise UnknownAddress(ip)
        return found
    if not any(row.name == name for row in history.pools(tx)):
        raise UnknownPool(name)
    return [event for event in found if event.pool == name]


def _pools_around(tx: Tx, ip: str) -> list[tuple[PoolRow, PoolSpec]]:
    """The pools, deleted ones too, whose ranges hold the address."""
    read = ((row, pools.from_spec(row.name, row.spec)) for row in history.pools(tx))
    return [(row, spec) for row, spec in read if spec.sub_around(ip)]


def events(database: Database, wanted: Wanted) -> Iterator[Event]:
    """The events that fit, oldest first. Raises UnknownAddress and UnknownPool for names that the ledger never heard of."""
    with database.read() as tx:
        if wanted.pool is not None and not any(row.name == wanted.pool for row in history.pools(tx)):
            raise UnknownPool(wanted.pool)
        found = history.events(tx, wanted)
        first = next(found, None)
        if first is None:
            if (
                wanted.ip is not None
                and not history.newest(tx, wanted.ip)
                and not _pools_around(tx, wanted.ip)
            ):
                raise UnknownAddress(wanted.ip)
            return
        yield first
        yield from found


# A whole pool at a moment -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolThen:
    """A pool at a moment: its own newest event, its spec, and the newest event of each address that was used by then.

    ``addresses`` stand in the order of their numbers; free ones only if they were asked for.
    """

    event: Event
    spec: PoolSpec
    at: datetime
    addresses: tuple[Event, ...]

    def count(self, state: State) -> int:
        return sum(event.state is state for event in self.addresses)

    def to_json(self) -> dict[str, Any]:
        counts = {state: self.count(state) for state in (State.ALLOCATED, State.HELD, State.COOLING)}
        used = sum(counts.values())
        return {
            "pool": self.spec.name,
            "at": rfc3339(self.at),
            "capacity": self.spec.capacity,
            "allocated": counts[State.ALLOCATED],
            "free": max(0, self.spec.capacity - used),
            "held": counts[State.HELD],
            "cooling": counts[State.COOLING],
            "utilization": used / self.spec.capacity,
            "addresses": [event.to_json() for event in self.addresses],
        }


def pool_at(database: Database, name: str, at: datetime, *, free: bool = False) -> PoolThen:
    """A pool as it was. ``free``: also the addresses that were free again. Raises UnknownPool, PoolNotThen."""
    with database.read() as tx:
        row, event = _pool_then(tx, name, at)
        found = history.pool_at(tx, row.id, at, used_only=not free)
    return PoolThen(event, pools.from_spec(name, event.spec), at, tuple(sorted(found, key=_by_address)))


def _pool_then(tx: Tx, name: str, at: datetime) -> tuple[PoolRow, Event]:
    row = next((row for row in history.pools(tx) if row.name == name), None)
    if row is None:
        raise UnknownPool(name)
    event = history.pool_event(tx, row.id, at)
    if event is None:
        raise PoolNotThen(name, rfc3339(at), "it was created later")
    if event.kind is Kind.POOL_DELETED:
        raise PoolNotThen(name, rfc3339(at), f"it was deleted at {rfc3339(event.at)}")
    return row, event


def _by_address(event: Event) -> Any:
    return sort_key(event.ip or "")


@dataclass(frozen=True, slots=True)
class Change:
    """An address that is not at the second moment what it was at the first. ``before`` None: it was never used by then.

    ``events``: how many events it had in between.
    """

    before: Event | None
    after: Event

    @property
    def events(self) -> int:
        return self.after.version - (self.before.version if self.before else 0)

    @property
    def what(self) -> str:
        """``given``, ``relaunched`` (the same owner, another sandbox), ``passed on`` (to another owner), ``held``, ``cooling``, ``freed``."""
        if self.after.state is not State.ALLOCATED:
            return "freed" if self.after.state is State.FREE else str(self.after.state)
        if self.before is None or self.before.state is not State.ALLOCATED:
            return "given"
        one, other = self.before.owner, self.after.owner
        same = (one.namespace, one.pod) == (other.namespace, other.pod) and (
            one.is_pod or self.before.attachment.container_id == self.after.attachment.container_id
        )
        return "relaunched" if same else "passed on"

    def to_json(self) -> dict[str, Any]:
        return {
            "ip": self.after.ip,
            "pool": self.after.pool,
            "change": self.what,
            "events": self.events,
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed in a pool: its spec (None: the pool was not there then), and addresses in the order of their numbers.

    ``back``: addresses that had events in between, but are at the second moment what they were at the first.
    """

    spec_before: PoolSpec | None
    spec_after: PoolSpec | None
    changes: tuple[Change, ...]
    back: int

    @property
    def spec_changed(self) -> bool:
        one, other = self.spec_before, self.spec_after
        return (one is None) is not (other is None) or bool(one and other and not pools.same(one, other))


def diff(database: Database, name: str, since: datetime, until: datetime) -> Diff:
    """What changed in a pool from one moment to another; net. Raises UnknownPool; PoolNotThen if it was there at neither."""
    with database.read() as tx:
        specs: list[PoolSpec | None] = []
        for at in (since, until):
            try:
                row, event = _pool_then(tx, name, at)
                specs.append(pools.from_spec(name, event.spec))
            except PoolNotThen:
                if at is until and specs == [None]:
                    raise
                specs.append(None)
        moved = [Change(old, new) for old, new in history.changed(tx, row.id, since, until)]
    changes = [change for change in moved if _differs(change)]
    changes.sort(key=lambda change: _by_address(change.after))
    return Diff(specs[0], specs[1], tuple(changes), len(moved) - len(changes))


def _differs(change: Change) -> bool:
    before, after = change.before, change.after
    was = before.state if before else State.FREE
    if was is State.FREE and after.state is State.FREE:
        return False
    return (
        before is None
        or was is not after.state
        or holder(before) != holder(after)
        or before.until != after.until
    )


# A pool over time -------------------------------------------------------------------------------

USAGE_EVENTS: Final = 200_000
"""How far back the ledger is read for a pool's past, in events: about a second's work at most."""
USAGE_SPAN: Final = timedelta(days=30)
USAGE_POINTS: Final = 60


@dataclass(frozen=True, slots=True)
class Usage:
    """How many addresses were in use (allocated, held or cooling) at the ends of equal parts of ``since`` to ``until``."""

    since: datetime
    until: datetime
    used: tuple[int, ...]
    capacity: int

    @property
    def full_in(self) -> timedelta | None:
        """How long until the pool is full at this pace; None where that cannot be told."""
        width = (self.until - self.since).total_seconds() / max(1, len(self.used))
        return full_in([Sample(width * n, used) for n, used in enumerate(self.used, 1)], self.capacity)

    def to_json(self) -> dict[str, Any]:
        left = self.full_in
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "used": list(self.used),
            "fullAt": rfc3339(self.until + left) if left is not None else None,
        }


def usage(database: Database, name: str, now: datetime) -> Usage | None:
    """A pool's utilisation over the last while; None if there is no past to speak of. Raises UnknownPool."""
    with database.read() as tx:
        row = next((row for row in history.pools(tx) if row.name == name and row.live), None)
        if row is None:
            raise UnknownPool(name)
        first = history.first_of_pool(tx, row.id)
        reach = history.moment_back(tx, USAGE_EVENTS)
        if first is None or reach is None:
            return None
        since = max(first, reach, now - USAGE_SPAN)
        if now - since < timedelta(seconds=1):
            return None
        changes = history.usage_changes(tx, row.id, since, now, USAGE_POINTS)
        used = sum(1 for _ in history.states(tx, row.id))
    series = []
    for number in range(USAGE_POINTS - 1, -1, -1):
        series.append(used)
        used -= changes.get(number, 0)
    return Usage(since, now, tuple(reversed(series)), pools.from_spec(name, row.spec).capacity)


def in_use(database: Database, name: str) -> dict[str, State]:
    """The addresses of a pool that are not free. Raises UnknownPool."""
    with database.read() as tx:
        row = next((row for row in history.pools(tx) if row.name == name and row.live), None)
        if row is None:
            raise UnknownPool(name)
        return dict(history.states(tx, row.id))


# One address, explained -------------------------------------------------------------------------


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
        around = {row.name: (row, spec) for row, spec in _pools_around(tx, ip)}
        newest = {event.pool: event for event in history.newest(tx, ip)}
        if not around and not newest:
            raise UnknownAddress(ip)
        known = {row.name: row for row in history.pools(tx)}
        out = []
        for name in sorted({*around, *newest}):
            row, event = known[name], newest.get(name)
            spec = around[name][1] if name in around else None
            live = history.live_row(tx, row.id, ip)
            told = _Teller(tx, row, spec, ip, now, moment).tell(event, live)
            out.append(Explained(name, tuple(told), event))
    return sorted(out, key=lambda each: (not known[each.pool].live, each.pool))


class _Teller:
    def __init__(
        self,
        tx: Tx,
        row: PoolRow,
        spec: PoolSpec | None,
        ip: str,
        now: datetime,
        moment: Callable[[datetime], str],
    ) -> None:
        self._tx, self._row, self._spec, self._ip, self._now, self._moment = tx, row, spec, ip, now, moment

    def tell(self, event: Event | None, live: AddressRow | None) -> Iterator[str]:
        here = f"{self._ip} of pool {self._row.name!r}"
        withheld = self._withheld()
        if not self._row.live:
            gone = history.pool_event(self._tx, self._row.id)
            yield f"Pool {self._row.name!r} was deleted{f' {self._when(gone.at)}' if gone else ''}; it gives nothing out."
        if event is None:
            yield f"{here} {withheld}." if withheld else f"{here} is free; nobody has ever had it."
        else:
            yield f"{here} is {self._now_is(event)}."
            yield self._since(event)
            if event.state is not State.ALLOCATED:
                yield from self._last_had(event)
            if withheld:
                yield f"It {withheld}."
        if self._row.live and (event is not None or not withheld):
            yield from self._next(event, live)
        yield from self._reserved()

    def _withheld(self) -> str | None:
        sub = self._spec.sub_around(self._ip) if self._spec else None
        if sub is None:
            return "is no longer in the pool's ranges" if self._row.live else None
        why = sub.why_not(self._ip)
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
        why = REASONS.get(event.reason or "", f"“{event.reason}”" if event.reason else "no reason given")
        by = f", by {event.actor}" if event.actor else ""
        return f"So since {self._when(event.at)}: {done} ({why}{by}; event {event.seq})."

    def _last_had(self, event: Event) -> Iterator[str]:
        before = history.preceding(self._tx, event, State.ALLOCATED)
        if before is not None:
            after = history.following(self._tx, before)
            until = f" until {self._moment(after.at)}" if after else ""
            who = who_is(before)
            yield f"{who[:1].upper()}{who[1:]} had it from {self._moment(before.at)}{until}."

    def _next(self, event: Event | None, live: AddressRow | None) -> Iterator[str]:
        state = event.state if event else State.FREE
        if (
            event is not None
            and event.until is not None
            and event.until <= self._now
            and state is not State.ALLOCATED
        ):
            yield f"That ended {self._when(event.until)}: the next sweep frees it, or an ADD that finds nothing else."
            return
        match state:
            case State.ALLOCATED:
                assert event is not None
                if event.owner.is_pod:
                    yield (
                        "It stays so until the DEL of this very attachment, or until the pool is full and there is positive "
                        "evidence that the pod has ended. A relaunched pod of the same name takes it over."
                    )
                else:
                    yield "It stays so until it is released: an owner that is no pod is never swept."
            case State.HELD:
                assert event is not None
                until = f"until {self._moment(event.until)}" if event.until else "while its owner exists"
                yield f"It is kept for that owner {until}; nobody else gets it."
            case State.COOLING:
                assert event is not None and event.until is not None
                yield (
                    f"It cools until {self._when(event.until)}; until then only its last owner gets it, and then it is free."
                )
            case _:
                if live is not None and live.rnd is not None and event is not None:
                    yield "Anybody may get it; its last owner, if it comes back first."

    def _reserved(self) -> Iterator[str]:
        owner = self._spec.static_owner(self._ip) if self._spec else None
        if owner is not None and self._row.live:
            yield f"It is statically reserved for pod {'/'.join(owner)}; nobody else gets it."

    def _when(self, at: datetime) -> str:
        from_now = at - self._now
        span = spell(from_now)
        return f"{self._moment(at)} ({f'in {span}' if from_now > timedelta(0) else f'{span} ago'})"


def who_is(event: Event) -> str:
    """The (last) owner of an event, for a sentence."""
    if event.owner.is_pod:
        return f"pod {event.owner.namespace}/{event.owner.pod}"
    name = event.owner.pod or event.attachment.container_id
    if not name:
        return "nobody"
    return (
        f"owner {name!r}"
        if name == event.attachment.container_id and not event.attachment.if_name
        else f"container {name}"
    )


def spell(span: timedelta) -> str:
    """``2 hours``, ``3 days``: in the largest unit that fits, rounded down."""
    seconds = int(abs(span).total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count:,} {name}{'s' if count != 1 else ''}"
    return "less than a second"


# Leaks and what else is not as it should be ------------------------------------------------------

OVERDUE: Final = timedelta(minutes=15)
"""How long after its end a cooling or held address is found by ``check``: sweeps come every few seconds to a minute."""

Ended = Callable[[Sequence[Event]], Iterator[tuple[Event, str]]]
"""Whom to ask about many owners at once: the newest events of allocated addresses -> those whose owners have ended, and why."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An address that may have leaked: it is allocated, and there is evidence that its owner is no more."""

    event: Event
    evidence: str

    def to_json(self) -> dict[str, Any]:
        return {"evidence": self.evidence, **self.event.to_json()}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """``findings``: what should not be. ``suspects``: addresses that may have leaked. ``asked``: owners that evidence was sought for."""

    findings: tuple[Finding, ...]
    suspects: tuple[Suspect, ...]
    asked: int

    @property
    def ok(self) -> bool:
        return not self.findings and not self.suspects


def check(
    database: Database, now: datetime, *, ended: Ended | None = None, limit: int = 1_000
) -> CheckReport:
    """Look for what should not be in the live state, and for leaks. Far quicker than ``verify``: it replays nothing.

    ``ended``: asked about every owner that holds an address, outside any transaction.
    """
    findings: list[Finding] = []
    with database.read() as tx:
        for each in (truth.pool_rows, truth.places, truth.owners):
            findings += each(tx, lambda more: None)
        for name, ip, state, until in looks.overdue(tx, now - OVERDUE, limit):
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
            for event, seen in looks.superseded(tx, limit)
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
    suspects.sort(key=lambda suspect: (suspect.event.pool, _by_address(suspect.event)))
    return CheckReport(tuple(findings), tuple(suspects), len(holding))


def ask_each(evidence: Evidence, progress: Callable[[int], object] = lambda more: None) -> Ended:
    """Evidence that is asked about one owner at a time, as ``Ended``."""

    def ended(holding: Sequence[Event]) -> Iterator[tuple[Event, str]]:
        for event in holding:
            why = evidence.ended(event)
            progress(1)
            if why is not None:
                yield event, why

    return ended
