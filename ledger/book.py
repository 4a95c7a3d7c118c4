"""The book: who gets which address, in the order that design.md fixes. Owns transactions and retry.

A claim is settled for each family of each of its pools, all or nothing. On PostgreSQL the common cases (this
attachment holds one, its owner holds or had one, a new one at random) are one statement for many claims at once;
whatever that leaves unsettled is settled here step by step, as everything is on SQLite. Both take the same
decisions: one contract suite runs on both.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from ledger import catalog, walk
from ledger.addresses import Family, canonical
from ledger.catalog import Pool, PoolChange, PoolFigures
from ledger.claims import Allocation, Claim
from ledger.errors import (
    AddressOutsidePool,
    AddressReserved,
    DatabaseAway,
    InvalidRequest,
    LedgerError,
    LockTimeout,
    NotHeld,
    PoolExhausted,
    TryAgain,
    UnknownAddress,
    UnknownPool,
)
from ledger.events import Attachment, Event, Kind, Reason, State, owner_key, storable, unstorable
from ledger.evidence import Evidence, NeverGone
from ledger.lane import LIMIT, Lane
from ledger.plan import Pick, allocation_of, not_given, plan, reason_of, start_of
from ledger.pools import PoolSpec, Sub
from ledger.settings import BookSettings
from ledger.steps import SWEEP_LIMIT, Steps
from ledger.store import Database, Tx, fences, quick, rows
from ledger.store.database import Conflict
from ledger.store.rows import AddressRow

T = TypeVar("T")
Outcome = tuple[Allocation, ...] | LedgerError

_random = random.SystemRandom()

ASKED_AT_ONCE = 64
"""Holders that are read together before they are asked about one by one."""


class _Undo(Exception):
    """Ends a dry run: what was done is rolled back."""

    def __init__(self, change: PoolChange) -> None:
        self.change = change


_Want = tuple[Pick, tuple[Sub, ...]]
"""A pick and the subs that may serve it, best first."""


@dataclass(slots=True)
class _Batch:
    """Claims, by their index, that want the same."""

    wants: list[_Want]
    claims: dict[int, Claim]


class Book:
    """The book over one database. Safe to share between threads.

    ``actor``: who writes, for the ledger (``agent/node1``, ``cli/alice``). ``evidence``: whom to ask whether an
    owner has ended, when a pool is full.

    Every method raises DatabaseAway or LockTimeout (both TryAgain) when the database is away or busy; nothing was
    done then, except perhaps a commit whose answer was lost: repeating is safe, since ADD and DEL are idempotent.
    """

    def __init__(
        self,
        database: Database,
        *,
        actor: str,
        evidence: Evidence | None = None,
        settings: BookSettings | None = None,
        reconnected: Callable[[], object] = lambda: None,
    ) -> None:
        """``reconnected`` is called before anything is tried again on a new connection, whose database may have been restored."""
        self.database = database
        self.actor = actor
        self._evidence = evidence or NeverGone()
        self._settings = settings or BookSettings()
        self._reconnected = reconnected
        self._pools: dict[str, Pool] = {}
        # Callers of many threads share transactions: what queued while the last one ran is the next batch.
        self._claims: Lane[Claim, Outcome] = Lane(self.allocate_many)
        self._releases: Lane[Attachment, list[Event]] = Lane(self.release_many, passes=TryAgain)

    def ready(self) -> None:
        """Raise TryAgain or SchemaMismatch unless the database answers and is at this program's schema."""
        self._again(self.database.require_head)

    def unfenced(self) -> None:
        """Raise Fenced while nothing may be given out."""
        self._read(fences.refuse)

    # Allocating ---------------------------------------------------------------------------------

    def allocate(self, claim: Claim) -> tuple[Allocation, ...]:
        """Settle one claim, together with those of other threads; on a full pool, reclaim by evidence.

        Raises UnknownPool, PoolExhausted, NotOnThisNode, InvalidRequest, AddressTaken, AddressReserved, AddressOutsidePool.
        """
        outcome = self._claims(claim)
        if isinstance(outcome, PoolExhausted) and not isinstance(self._evidence, NeverGone):
            return self.reclaim_for(claim)
        if isinstance(outcome, LedgerError):
            raise outcome
        return outcome

    def allocate_many(self, claims: Sequence[Claim]) -> list[Outcome]:
        """Settle a batch in as few transactions as can be; never asks for evidence. Outcomes stand in the claims' order.

        When the database goes away or is busy half-way, what was settled is answered, and TryAgain is the outcome of the rest.
        """
        outcomes: dict[int, Outcome] = {}
        away: TryAgain | None = None
        try:
            for batch in self._batches(claims):
                while batch.claims:
                    settled, short = self._again(partial(self._settle_quickly, batch))
                    outcomes.update(settled)
                    batch.claims = {n: claim for n, claim in batch.claims.items() if n not in outcomes}
                    if not batch.claims or not self._again(partial(self._grow, short)):
                        break
            self._settle_each(claims, outcomes)
        except TryAgain as error:
            away = error
        return [outcomes.get(index) or cast("TryAgain", away) for index in range(len(claims))]

    def _settle_each(self, claims: Sequence[Claim], outcomes: dict[int, Outcome]) -> None:
        """Those that have no outcome yet, one by one. One lock that somebody never lets go of stops one claim, not the rest."""
        stuck = 0
        for index, claim in enumerate(claims):
            if index in outcomes:
                continue
            try:
                outcomes[index] = self._again(partial(self._settle_alone, claim))
            except LockTimeout as busy:
                outcomes[index] = busy
                stuck += 1
                if stuck == 2:  # not one lock, then
                    raise
            except TryAgain:
                raise
            except LedgerError as error:
                outcomes[index] = error

    def reclaim_for(self, claim: Claim) -> tuple[Allocation, ...]:
        """Settle a claim on a full pool: ask about the owners in random order, each once, and take the first that has ended.

        ``Reclaimed`` and ``Allocated`` are one transaction. Bounded by the size of the pool and by
        ``BookSettings.reclaim_deadline``; then PoolExhausted with the figures.
        """
        deadline = time.monotonic() + self._settings.reclaim_deadline
        ended: list[tuple[AddressRow, str]] = []
        candidates: dict[tuple[str, Family], Iterator[tuple[AddressRow, str]]] = {}
        asked = [0]
        while True:
            try:
                return self._again(partial(self._settle_alone, claim, ended))
            except PoolExhausted as full:
                key: tuple[str, Family] = (full.pool, full.family)
                if key not in candidates:
                    candidates[key] = self._ended(*key, claim, deadline, asked)
                found = next(candidates[key], None)
                if found is None:
                    raise PoolExhausted(**{**full.facts(), "asked": asked[0]}) from None
                ended.append(found)

    def _settle_alone(
        self, claim: Claim, ended: Sequence[tuple[AddressRow, str]] = ()
    ) -> tuple[Allocation, ...]:
        with self.database.begin() as tx:
            fences.refuse(tx)
            steps = Steps(tx, self.actor)
            for row, why in ended:
                steps.reclaim(row, why)
            picks = plan(claim, lambda name: self._pool(tx, name, keep=True))
            return tuple(steps.settle(pick, claim) for pick in picks)

    def _batches(self, claims: Sequence[Claim]) -> list[_Batch]:
        """Claims that one statement can settle, grouped by what they want; two of the same owner never meet in one."""
        groups: dict[object, _Batch] = {}
        taken: set[object] = set()
        for index, claim in enumerate(claims):
            try:
                picks = plan(claim, self._cached_pool)
                subs = [pick.pool.spec.eligible(pick.family, claim.node) for pick in picks]
            except TryAgain:
                raise
            except LedgerError:
                continue  # the slow road looks again, and says what is wrong
            key = owner_key(claim.owner, claim.attachment), claim.attachment.if_name
            special = claim.reason is not None or any(pick.wanted for pick in picks) or not all(subs)
            if special or {key, claim.attachment} & taken:
                continue
            taken |= {key, claim.attachment}
            same = tuple((p.pool.id, p.pool.version, p.family, s) for p, s in zip(picks, subs, strict=True))
            wants = list(zip(picks, subs, strict=True))
            groups.setdefault(same, _Batch(wants, {})).claims[index] = claim
        batches = []
        for whole in groups.values():
            items = list(whole.claims.items())  # LIMIT at a time: the joins of a larger batch cost its square
            batches += [
                _Batch(whole.wants, dict(items[at : at + LIMIT])) for at in range(0, len(items), LIMIT)
            ]
        return batches

    def _settle_quickly(self, batch: _Batch) -> tuple[dict[int, tuple[Allocation, ...]], list[_Want]]:
        """What one statement for each pick and sub settles, and the picks that ran short. Several picks: all for all claims, or none."""
        short: list[_Want] = []
        alone = len(batch.wants) == 1
        try:
            with self.database.quick(together=not alone) as tx:
                settled = [self._pick_quickly(tx, want, batch.claims) for want in batch.wants]
                short = [
                    w for w, part in zip(batch.wants, settled, strict=True) if len(part) < len(batch.claims)
                ]
                if short and not alone:
                    raise Conflict("not all could be settled at once")
        except Conflict:
            return {}, short  # a lost race: one by one, then
        except LockTimeout:
            if self.database.sqlite:  # the lock is the whole file's
                raise
            return {}, []
        found: dict[int, tuple[Allocation, ...]] = {}
        for (pick, _), part in zip(batch.wants, settled, strict=True):
            for each in part:
                given = allocation_of(pick.pool.spec, each.ip, each.event)
                found[each.index] = (*found.get(each.index, ()), given)
        return found, short

    def _pick_quickly(self, tx: Tx, want: _Want, claims: Mapping[int, Claim]) -> list[quick.Settled]:
        pick, subs = want
        settled: list[quick.Settled] = []
        rest = dict(claims)
        for sub in subs:
            picks = quick.Picks(
                pool_id=pick.pool.id,
                pool=pick.pool.name,
                version=pick.pool.version,
                family=pick.family,
                sub=sub.ordinal,
                subs=[each.ordinal for each in subs],
                start=start_of(pick.pool.spec),
                reason=reason_of(pick.pool.spec),
                actor=self.actor,
            )
            settled += quick.allocate(tx, picks, list(rest.items()))
            for each in settled:
                rest.pop(each.index, None)
            if not rest:
                break
        return settled

    def _grow(self, short: Sequence[_Want]) -> bool:
        """Add rows to the large subs that ran out of them; whether that was so."""
        if all(sub.capacity <= walk.WHOLE for _, subs in short for sub in subs):
            return False
        grown = False
        with contextlib.suppress(UnknownPool), self.database.begin() as tx:
            for pick, subs in short:
                pool = self._pool(tx, pick.pool.name, keep=True)
                ordinals = [sub.ordinal for sub in subs]
                if pool.version == pick.pool.version and not rows.any_free(tx, pool.id, ordinals):
                    grown |= any(catalog.grow(tx, pool, sub) for sub in subs)
        return grown

    def _ended(
        self, name: str, family: Family, claim: Claim, deadline: float, asked: list[int]
    ) -> Iterator[tuple[AddressRow, str]]:
        """Allocated addresses whose owners have ended, found by asking about each once, in random order, outside any transaction."""

        def look(tx: Tx) -> tuple[int, list[str]]:
            pool = self._pool(tx, name)
            eligible = [sub.ordinal for sub in pool.spec.eligible(family, claim.node)]
            return pool.id, rows.reclaimable(tx, pool.id, eligible)

        pool_id, ips = self._read(look)
        _random.shuffle(ips)
        for at in range(0, len(ips), ASKED_AT_ONCE):
            # Looked at a few at a time: the pool may be large, and the first asked about may have ended
            some = self._read(partial(rows.list_allocated, pool_id=pool_id, ips=ips[at : at + ASKED_AT_ONCE]))
            for row in some:
                if time.monotonic() > deadline:
                    return
                asked[0] += 1
                why = self._evidence.ended(_as_event(name, row))
                if why is not None:
                    yield row, why

    # Releasing ----------------------------------------------------------------------------------

    def release(self, attachment: Attachment) -> list[Event]:
        """Release what this attachment holds, in whatever pool; [] if it holds nothing (a repeated or late DEL)."""
        return self._releases(attachment)

    def release_many(
        self, attachments: Sequence[Attachment], *, reason: str = Reason.DEL.value
    ) -> list[list[Event]]:
        """The same for a batch, in one transaction."""
        asked = [index for index, each in enumerate(attachments) if each.storable]

        def release() -> list[list[Event]]:
            with self.database.quick() as tx:
                return quick.release(tx, [attachments[index] for index in asked], reason, self.actor)

        out: list[list[Event]] = [[] for _ in attachments]
        for index, events in zip(asked, self._again(release) if asked else (), strict=True):
            out[index] = events
        return out

    def release_ip(self, ip: str, *, pool: str | None = None, reason: str) -> Event:
        """Release an address by hand.

        Raises UnknownAddress, UnknownPool, NotHeld, AddressReserved, InvalidRequest (several pools have it).
        """
        ip = canonical(ip, "ip")
        _check_reason(reason)

        def release() -> Event:
            with self.database.begin() as tx:
                places = self._pools_with(tx, ip, pool)
                if len(places) > 1:
                    names = ", ".join(each.name for each in places)
                    raise InvalidRequest(
                        "address", ip, f"is in several pools ({names}): say which with --pool"
                    )
                row = rows.find_address(tx, places[0].id, ip)
                if row is None or row.state not in (State.ALLOCATED, State.HELD):
                    if isinstance(never := not_given(places[0].spec, ip), AddressReserved):
                        raise never
                    raise NotHeld(
                        f"{ip} of pool {places[0].name!r} is {row.state if row else State.FREE}: nobody holds it",
                        ip=ip,
                    )
                return Steps(tx, self.actor).released(row, reason)

        return self._again(release)

    def held_by(self, attachment: Attachment) -> tuple[Allocation, ...]:
        """What this attachment holds, in whatever live pool."""

        def look(tx: Tx) -> tuple[Allocation, ...]:
            names = {row.id: row.name for row in rows.live_pools(tx)}
            return tuple(
                allocation_of(self._pool(tx, names[row.pool_id]).spec, row.ip, None)
                for row in rows.find_attachment(tx, attachment)
                if row.pool_id in names
            )

        return self._read(look) if attachment.storable else ()

    def collect(self, *, network: str, node: str, keep: Collection[Attachment]) -> list[Event]:
        """Release what one node holds on one network, but for the attachments that are still valid (the SPEC's GC)."""
        valid = {(each.container_id, each.if_name) for each in keep}

        def collect() -> list[Event]:
            with self.database.begin() as tx:
                steps = Steps(tx, self.actor)
                return [
                    steps.released(row, Reason.GC.value)
                    for row in rows.list_on_network(tx, network, node)
                    if (row.attachment.container_id, row.attachment.if_name) not in valid
                ]

        return self._again(collect)

    def sweep(self) -> list[Event]:
        """Free the cooling and held addresses whose time has come; in several short transactions."""

        def sweep() -> list[Event]:
            with self.database.begin() as tx:
                return Steps(tx, self.actor).sweep()

        freed = events = self._again(sweep)
        while len(events) == SWEEP_LIMIT:
            events = self._again(sweep)
            freed = freed + events
        return freed

    # By evidence and by hand: each fenced by the version that was looked at -----------------------

    def transfer(
        self, pool: str, ip: str, version: int, kind: Kind, *, reason: str, until: datetime | None = None
    ) -> Event | None:
        """Reclaim, hold or free one address, if it is still at ``version``; None if it has moved on since.

        ``kind`` is RECLAIMED (allocated → free, or cooling where the pool says so), HELD (anything that somebody has or
        had → held until ``until``, or for good) or FREED (held or cooling → free). Raises UnknownPool, InvalidRequest.
        """
        ip = canonical(ip, "ip")
        _check_reason(reason)

        def transfer() -> Event | None:
            with self.database.begin() as tx:
                steps = Steps(tx, self.actor)
                row = rows.find_address(tx, self._pool(tx, pool, keep=True).id, ip)
                if row is None or row.version != version:
                    return None
                if row.version == 0 or row.state not in _TRANSFERS[kind]:
                    raise InvalidRequest("kind", kind.value, f"makes no sense for {ip}, which is {row.state}")
                if kind is Kind.HELD:
                    return steps.change(row, kind, State.HELD, reason, until)
                if kind is Kind.RECLAIMED:
                    return steps.released(row, reason, kind)
                return steps.change(row, kind, State.FREE, reason)

        return self._again(transfer)

    def adopt(self, claim: Claim, ip: str) -> Event | None:
        """Record that an owner has this address already, outside the ledger's knowledge; None if the ledger says so too.

        Raises AddressTaken if the ledger knows another owner, OwnerHasAnother if it knows another address of this one,
        AddressOutsidePool, AddressReserved, UnknownPool.
        """
        [outcome] = self.adopt_many([(claim, ip)])
        if isinstance(outcome, LedgerError):
            raise outcome
        return outcome

    def adopt_many(self, adoptions: Sequence[tuple[Claim, str]]) -> list[Event | LedgerError | None]:
        """The same for a batch, in one transaction: what the ledger refuses is its outcome, and keeps the others from nothing."""

        def adopt() -> list[Event | LedgerError | None]:
            with self.database.begin() as tx:
                return [self._adopted(tx, claim, ip) for claim, ip in adoptions]

        return self._again(adopt)

    def _adopted(self, tx: Tx, claim: Claim, ip: str) -> Event | LedgerError | None:
        try:
            return self._adopt(tx, claim, canonical(ip, "ip"))
        except TryAgain:
            raise
        except LedgerError as error:  # raised before any event of this adoption
            return error

    def _adopt(self, tx: Tx, claim: Claim, ip: str) -> Event | None:
        claim.check()
        return Steps(tx, self.actor).adopt(self._pool(tx, claim.pools[0], keep=True), claim, ip)

    # Pools --------------------------------------------------------------------------------------

    def apply_pool(self, spec: PoolSpec, *, reason: str | None = None, dry_run: bool = False) -> PoolChange:
        """Create or update a pool; nothing if it is so already. Raises PoolOverlap, PoolInUse, InvalidPool.

        ``dry_run``: do all of it, then undo it.
        """
        _check_reason(reason)

        def apply() -> PoolChange:
            with self.database.begin() as tx:
                change = catalog.apply(tx, spec, actor=self.actor, reason=reason)
                if dry_run:
                    raise _Undo(change)
                return change

        try:
            return self._again(apply)
        except _Undo as undone:
            return undone.change

    def delete_pool(self, name: str, *, reason: str | None = None) -> Event:
        """Delete a pool; its history stays. Raises UnknownPool, PoolInUse."""
        _check_reason(reason)

        def delete() -> Event:
            with self.database.begin() as tx:
                return catalog.delete(tx, name, actor=self.actor, reason=reason)

        return self._again(delete)

    def pool(self, name: str) -> PoolFigures:
        """One pool and its counts. Raises UnknownPool."""
        return self._read(lambda tx: catalog.figures(tx, self._pool(tx, name))[0])

    def spec(self, name: str) -> PoolSpec:
        """One pool as it is specified, without its counts. Raises UnknownPool."""
        return self._read(lambda tx: self._pool(tx, name)).spec

    def pools(self) -> list[PoolFigures]:
        """All live pools and their counts, in order of their names."""
        return self._read(catalog.figures)

    # Shared -------------------------------------------------------------------------------------

    def _pool(self, tx: Tx, name: str, *, keep: bool = False) -> Pool:
        """The live pool. ``keep``: as it is until the end of the transaction, so that what is given is of this spec."""
        pool = catalog.load(tx, name, self._pools, keep=keep)
        self._pools[name] = pool
        return pool

    def _cached_pool(self, name: str) -> Pool:
        """As last seen: the set-wise statement does nothing if that is outdated."""
        pool = self._pools.get(name)
        return pool or self._read(lambda tx: self._pool(tx, name))

    def _pools_with(self, tx: Tx, ip: str, name: str | None) -> list[Pool]:
        named = [catalog.read(row) for row in rows.live_pools(tx)] if name is None else [self._pool(tx, name)]
        found = [pool for pool in named if pool.spec.sub_around(ip)]
        if not found:
            raise UnknownAddress(ip) if name is None else AddressOutsidePool(name, ip, named[0].spec.ranges)
        return found

    def _again(self, attempt: Callable[[], T]) -> T:
        """Decide anew after a lost race; once more after a connection that died in the pool."""
        reconnected = False
        lost: Conflict | None = None
        for number in range(self._settings.attempts):
            try:
                return attempt()
            except Conflict as error:
                lost = error
                time.sleep(_random.uniform(0, 0.002 * 2 ** min(number, 6)))
            except DatabaseAway as away:
                stale = getattr(away.__cause__, "connection_invalidated", False)
                if reconnected or not stale:
                    raise
                reconnected = True
                self._reconnected()
        raise LockTimeout(f"lost {self._settings.attempts} races in a row; try again") from lost

    def _read(self, look: Callable[[Tx], T]) -> T:
        """What one read-only transaction sees."""

        def attempt() -> T:
            with self.database.read() as tx:
                return look(tx)

        return self._again(attempt)


_TRANSFERS = {
    Kind.RECLAIMED: {State.ALLOCATED},
    Kind.HELD: set(State),
    Kind.FREED: {State.HELD, State.COOLING},
}


def _check_reason(reason: str | None) -> None:
    if reason is not None and not storable(reason):
        raise InvalidRequest("reason", reason, unstorable(reason))


def _as_event(pool: str, row: AddressRow) -> Event:
    assert row.since is not None
    return Event(
        0, row.since, Kind.ALLOCATED, pool, row.ip, row.version, row.state, row.owner, row.attachment, row.node, row.until,
        None, None,
    )  # fmt: skip
