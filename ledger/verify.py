"""Is the ledger what it says, and is the live state what the ledger says? A list of named checks over one snapshot.

Every check is quick where all is well: it asks the database about sets, and looks for names only where a set is
wrong. Writers are not blocked; what they commit meanwhile is not seen. Whoever has more to check (seals, checkpoints)
adds a ``Check`` to the list: a name, a sentence, and a function from the transaction to findings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from ledger import pools, walk
from ledger.addresses import to_int, to_text
from ledger.errors import InvalidPool, LedgerCorrupt
from ledger.events import Event, Kind, State, rfc3339
from ledger.replay import wrong, wrong_of_pool
from ledger.store import Database, Tx, fences
from ledger.store import guard as guards
from ledger.store import verify as looks

LIMIT: Final = 20
"""Findings that a check names; where one address is wrong a million may be, and the first say why."""

Progress = Callable[[int], object]
"""Called by a check with how many more events (or other things) it has seen; most checks are one query and never call it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: a sentence, and which pool, address or event (position) it is about, where there is one."""

    what: str
    pool: str | None = None
    ip: str | None = None
    seq: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "pool": self.pool, "ip": self.ip, "seq": self.seq, **self.facts}


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. ``holds``: what is so if it finds nothing. ``run`` may stop after ``LIMIT`` findings."""

    name: str
    holds: str
    run: Callable[[Tx, Progress], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and how long it took. ``more``: whether there is more than it names."""

    check: Check
    findings: tuple[Finding, ...]
    more: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found in one snapshot of ``events`` events and ``addresses`` addresses that were ever used."""

    events: int
    addresses: int
    checked: tuple[Checked, ...]

    @property
    def ok(self) -> bool:
        return not any(each.findings for each in self.checked)


def verify(
    database: Database,
    checks: Sequence[Check] | None = None,
    *,
    begins: Callable[[Check], Progress] = lambda check: lambda more: None,
) -> Report:
    """Run the checks (all by default) in one snapshot. ``begins`` is told which comes now, and gives its Progress."""
    checked = []
    events = addresses = 0
    with database.read() as tx:
        with suppress(LedgerCorrupt), looks.apart(tx):  # of a table that is missing the checks tell
            events, addresses = looks.totals(tx)
        for check in CHECKS if checks is None else checks:
            progress = begins(check)
            started = time.monotonic()
            found: list[Finding] = []
            try:
                with looks.apart(tx):
                    found.extend(islice(check.run(tx, progress), LIMIT + 1))
            except LedgerCorrupt as error:  # what cannot even be read
                found.append(Finding(str(error), seq=error.facts().get("seq")))
            seconds = time.monotonic() - started
            checked.append(Checked(check, tuple(found[:LIMIT]), len(found) > LIMIT, seconds))
    return Report(events, addresses, tuple(checked))


# The checks -------------------------------------------------------------------------------------


def guard(tx: Tx, progress: Progress) -> Iterator[Finding]:
    for look in (guards.look, guards.meddlers):
        for each in look(tx):
            if each.wrong:
                yield Finding(f"{each.name}: {each.wrong}", facts={"object": each.name})


def versions(tx: Tx, progress: Progress) -> Iterator[Finding]:
    for gap in looks.gaps(tx, LIMIT + 1):
        of = f"{gap.ip} of pool {gap.pool!r}" if gap.ip else f"pool {gap.pool!r}"
        yield Finding(
            f"{of}: version {gap.missing} is missing; there are {gap.count} events up to version {gap.newest}",
            gap.pool, gap.ip, facts={"version": gap.missing},
        )  # fmt: skip


def transitions(tx: Tx, progress: Progress) -> Iterator[Finding]:
    for step in looks.steps(tx):
        why = wrong(
            step.kind,
            step.before,
            step.after,
            same_owner=step.same_owner,
            has_until=step.has_until,
            back=step.back,
        )
        if why is None:
            continue
        for seq, version, pool, ip in looks.events_of_step(tx, step, LIMIT + 1):
            yield Finding(f"event {seq}, version {version} of {ip} in pool {pool!r}: {why}", pool, ip, seq)


def state(tx: Tx, progress: Progress) -> Iterator[Finding]:
    for each in looks.differences(tx, LIMIT + 1):
        where = f"{each.ip} of pool {each.pool!r}"
        if each.seq is None:
            says = ", ".join(f"{name} {_shown(row)}" for name, (row, _) in each.columns.items())
            what = f"{where}: the live state says {says}, but the ledger has no event of it"
        elif not each.columns:
            what = f"{where}: its newest event is {each.seq}, but it is not in the live state"
        else:
            says = "; ".join(
                f"{name} is {_shown(row)}, the ledger says {_shown(event)}"
                for name, (row, event) in each.columns.items()
            )
            what = f"{where}: {says} (event {each.seq})"
        yield Finding(what, each.pool, each.ip, each.seq)


def pool_rows(tx: Tx, progress: Progress) -> Iterator[Finding]:
    newest: dict[int, Event] = {}
    for pool_id, event in looks.pool_events(tx):
        before = newest.get(pool_id)
        live = before is not None and before.kind is not Kind.POOL_DELETED
        back = before is not None and event.at < before.at
        if why := wrong_of_pool(event.kind, live, back=back):
            yield Finding(
                f"event {event.seq}, version {event.version} of pool {event.pool!r}: {why}",
                event.pool,
                seq=event.seq,
            )
        newest[pool_id] = event
    for pool_id, first, count in looks.orphans(tx):
        yield Finding(
            f"{count} events are of pool #{pool_id}, which has no row (the first is event {first})", seq=first
        )
    for row in looks.stored_pools(tx):
        yield from _pool_row(tx, row, newest.get(row.id))


def _pool_row(tx: Tx, row: looks.StoredPool, event: Event | None) -> Iterator[Finding]:
    if event is None:
        yield Finding(f"pool {row.name!r}: the ledger has no event of it", row.name)
        return
    try:
        spec = pools.from_spec(row.name, event.spec)
    except InvalidPool as error:
        yield Finding(
            f"event {event.seq}: the spec of pool {row.name!r} is not valid: {error}", row.name, seq=event.seq
        )
        return
    says = {
        "version": (row.version, event.version),
        "live": (row.live, event.kind is not Kind.POOL_DELETED),
        "spec": (row.spec, event.spec),
        "address space": (row.address_space, spec.address_space),
        "cooldown": (row.cooldown_seconds, spec.cooldown_seconds),
    }
    for name, (stored, wanted) in says.items():
        if stored != wanted:
            yield Finding(
                f"pool {row.name!r}: {name} is {_shown(stored)}, the ledger says {_shown(wanted)} (event {event.seq})",
                row.name,
                seq=event.seq,
            )
    if event.kind is Kind.POOL_DELETED:
        for ip, how in looks.in_use(tx, row.id, LIMIT + 1):
            yield Finding(
                f"{ip} is {how}, but its pool {row.name!r} was deleted (event {event.seq})", row.name, ip
            )


def places(tx: Tx, progress: Progress) -> Iterator[Finding]:
    walks = looks.walks(tx)
    for row in looks.stored_pools(tx):
        walked = walks.pop(row.id, {})
        try:
            spec = pools.from_spec(row.name, row.spec)
        except InvalidPool:
            continue  # pool_rows says so
        yield from _walks(row, spec, walked)
        yield from _places(tx, row, spec, walked)
    for pool_id in walks:
        yield Finding(f"subs of pool #{pool_id} are in the live state, but the pool has no row")
    for pool_id, count in looks.astray(tx):
        yield Finding(f"{count} addresses of pool #{pool_id} are in the live state, but the pool has no row")


def _walks(row: looks.StoredPool, spec: pools.PoolSpec, walked: Mapping[int, int]) -> Iterator[Finding]:
    """A walk that was set back is no harm: it passes over what has a row, and cannot be told from one that began anew."""
    subs = {sub.ordinal: sub for sub in spec.subs} if row.live else {}
    for ordinal in sorted(subs.keys() | walked.keys()):
        of, sub, at = f"pool {row.name!r}, sub {ordinal}", subs.get(ordinal), walked.get(ordinal)
        if sub is None:
            yield Finding(f"{of}: it is in the live state, but not in the spec", row.name)
        elif at is None:
            yield Finding(f"{of}: it is in the spec, but not in the live state", row.name)
        elif not walk.first_walk(sub) <= at <= sub.capacity:
            least = walk.first_walk(sub)
            yield Finding(
                f"{of}: {at} of its addresses have been given a row, it says; that can be {least} to {sub.capacity}",
                row.name,
            )


def _places(
    tx: Tx, row: looks.StoredPool, spec: pools.PoolSpec, walked: Mapping[int, int]
) -> Iterator[Finding]:
    walks = {sub.ordinal: max(walked.get(sub.ordinal, 0), walk.first_walk(sub)) for sub in spec.subs}
    done = {sub.ordinal: walk.done(spec, sub, walks[sub.ordinal]) for sub in spec.subs}
    placed = dict.fromkeys(walks, 0)
    for stand in looks.stands(tx, row.id):
        sub = spec.sub_of(stand.ip) if row.live else None
        at = f"{stand.ip} of pool {row.name!r}"
        if sub is None:
            if stand.rnd is not None:
                why = "its pool was deleted" if not row.live else "the pool's spec never gives it out"
                yield Finding(f"{at} may be picked, but {why}", row.name, stand.ip)
            if stand.allocated and row.live:  # of a deleted one, pool_rows says so
                yield Finding(
                    f"{at} is allocated, but the pool's spec never gives it out", row.name, stand.ip
                )
            continue
        address = to_int(stand.ip)[1]
        placed[sub.ordinal] += done[sub.ordinal](address)
        reserved = spec.static_owner(stand.ip) is not None
        if (stand.rnd is None) is not reserved:
            why = "it is statically reserved" if reserved else "it is not statically reserved"
            yield Finding(
                f"{at} {'can never' if stand.rnd is None else 'may'} be picked, but {why}", row.name, stand.ip
            )
        elif stand.family != sub.family:
            yield Finding(f"{at} is said to be of IPv{stand.family}", row.name, stand.ip)
        elif stand.sub != sub.ordinal:
            yield Finding(f"{at} stands in sub {stand.sub}, the spec says {sub.ordinal}", row.name, stand.ip)
        elif spec.pick_strategy == "Lowest":
            place = walk.rnd_of(spec, sub, address, walks[sub.ordinal])
            if stand.rnd != place:
                yield Finding(f"{at} is picked in place {stand.rnd}, not in {place}", row.name, stand.ip)
        elif stand.rnd is not None and not (
            isinstance(stand.rnd, int) and 0 <= stand.rnd < 1 << walk.RND_BITS
        ):
            yield Finding(f"{at} is picked in place {stand.rnd!r}, which is none", row.name, stand.ip)
    for sub in spec.subs if row.live else ():
        wanted = min(walks[sub.ordinal], sub.capacity)
        if placed[sub.ordinal] != wanted:
            there = {stand.ip for stand in looks.stands(tx, row.id)}
            given = (to_text(sub.family, each) for each in walk.steps(spec, sub, 0, wanted))
            ip = next(ip for ip in given if ip not in there)
            yield Finding(
                f"pool {row.name!r}, range {sub.range}: {placed[sub.ordinal]} addresses stand in the live state, "
                f"the spec gives out {wanted}{'' if wanted == sub.capacity else ' so far'}: {ip} is missing",
                row.name,
                ip,
            )


def owners(tx: Tx, progress: Progress) -> Iterator[Finding]:
    for ip, space, pool, other in looks.twice(tx, LIMIT + 1):
        yield Finding(
            f"{ip} is allocated twice in address space {space!r}: in pool {pool!r} and in pool {other!r}",
            pool,
            ip,
        )
    spaces = _Spaces(tx)
    for events in looks.shared_streams(tx):
        spans: list[tuple[int, float, Event]] = []
        for event, following in zip(events, [*events[1:], None], strict=True):
            if event.state is State.ALLOCATED:
                ended = following.seq if following and following.pool == event.pool else math.inf
                spans.append((event.seq, ended, event))
        spans.sort()
        for number, (_, ended, one) in enumerate(spans):
            for began, until, two in spans[number + 1 :]:
                if began > ended:
                    break
                both_now = ended == until == math.inf  # said above
                if one.pool != two.pool and spaces.of(one) == spaces.of(two) and not both_now:
                    yield Finding(
                        f"{one.ip} had two owners in address space {spaces.of(one)!r} at once: by event {one.seq} of pool "
                        f"{one.pool!r} and by event {two.seq} of pool {two.pool!r}",
                        two.pool, two.ip, two.seq,
                    )  # fmt: skip


class _Spaces:
    """In which address space a pool was when something happened. By position, not by time: clocks are set back."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._pools: dict[str, list[tuple[int, str]]] | None = None

    def of(self, event: Event) -> str:
        if self._pools is None:
            self._pools = {}
            for _, each in looks.pool_events(self._tx):
                space = str((each.spec or {}).get("addressSpace") or "default")
                self._pools.setdefault(each.pool, []).append((each.seq, space))
        then = [space for seq, space in self._pools.get(event.pool, []) if seq < event.seq]
        return then[-1] if then else "default"


def turns(tx: Tx, progress: Progress) -> Iterator[Finding]:
    """Two may raise the fence at once, but it is lifted only where it is raised. That the newest turn is gone shows nowhere."""
    last, lifted = 0, True
    for number, raised in fences.numbered(tx):
        if lifted and not raised:
            yield Finding(
                f"turn {number} of the fence lifts it, but it is not raised: a turn before is gone or was changed"
            )
        elif tx.sqlite and number != last + 1:  # PostgreSQL leaves out numbers
            yield Finding(f"turn {last + 1} of the fence is gone: turn {number} comes next")
        last, lifted = number, not raised


CHECKS: tuple[Check, ...] = (
    Check("guard", "the database refuses to change or remove an event", guard),
    Check("versions", "every stream is numbered from 1 without gaps", versions),
    Check(
        "transitions",
        "every event may follow the one before it, and no stream goes back in time",
        transitions,
    ),
    Check("state", "the live state is the replay of the ledger, address by address", state),
    Check("pools", "every pool is what its newest event says", pool_rows),
    Check("places", "exactly the addresses that the pools give out can be picked", places),
    Check("owners", "no address ever had two owners in one address space", owners),
    Check("fence", "the fence was lifted only where it was raised", turns),
)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, datetime):
        return rfc3339(value)
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
