"""The steps of an ADD, a DEL and the like, inside one open transaction, the same on both databases.

What the quick forms (``ledger.store.quick``) leave unsettled is settled here, one pick at a time, in the order that
design.md fixes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger import catalog
from ledger.addresses import Family
from ledger.catalog import Pool
from ledger.claims import Allocation, Claim
from ledger.errors import AddressReserved, AddressTaken, NotOnThisNode, OwnerHasAnother, PoolExhausted
from ledger.events import Event, Kind, Reason, State, owner_key
from ledger.plan import Pick, allocation_of, not_given, reason_of, start_of
from ledger.pools import Sub
from ledger.store import Tx, quick, rows
from ledger.store.database import Conflict
from ledger.store.rows import AddressRow

SWEEP_LIMIT = 1_000
"""Addresses freed by one transaction of a sweep: a short one, so that no ADD waits long behind it."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What ``actor`` does in the transaction ``tx``."""

    tx: Tx
    actor: str

    def settle(self, pick: Pick, claim: Claim) -> Allocation:
        """One pick, step by step, in design.md's order."""
        pool, spec = pick.pool, pick.pool.spec
        key = owner_key(claim.owner, claim.attachment)
        known = rows.find_known(self.tx, pool.id, pick.family, key, claim.attachment)
        holding = [row for row in known if row.state is State.ALLOCATED]
        for row in holding:
            if row.attachment == claim.attachment:
                return allocation_of(spec, row.ip, None)
        if holding:
            return self._give(pool, holding[0], claim, Reason.REASSIGNED)
        subs = spec.eligible(pick.family, claim.node)
        if pick.wanted:
            return self._give(pool, self._wanted_row(pick, key, claim, subs), claim, pick.wanted[1])
        if not subs:
            raise NotOnThisNode(spec.name, pick.family, claim.node.name)
        for row in known:  # newest first
            sub = spec.sub_of(row.ip)
            if sub in subs and spec.static_owner(row.ip) is None:
                return self._give(pool, row, claim, Reason.RETURNING)
        picked = self._pick_free(pool, subs)
        if picked is None and self.sweep(pool):
            picked = self._pick_free(pool, subs)
        if picked is None:
            if rows.any_free(self.tx, pool.id, [sub.ordinal for sub in subs]):
                raise Conflict("the last free addresses are in others' hands, and may come back")
            raise self._exhausted(pool, pick.family)
        return self._give(pool, picked, claim, reason_of(spec))

    def _wanted_row(self, pick: Pick, key: str, claim: Claim, eligible: tuple[Sub, ...]) -> AddressRow:
        assert pick.wanted is not None
        pool, (ip, reason) = pick.pool, pick.wanted
        sub = pool.spec.sub_of(ip)
        assert sub is not None  # _asked and the spec's validation saw to it
        reserved_for = pool.spec.static_owner(ip)
        if reason is Reason.REQUESTED and reserved_for is not None:  # for another: its own would be STATIC
            raise AddressReserved(pool.name, ip, f"it is reserved for {'/'.join(reserved_for)}")
        if sub not in eligible:
            raise AddressReserved(
                pool.name, ip, f"its sub's nodeSelector does not match node {claim.node.name or '(unknown)'}"
            )
        row = catalog.row_of(self.tx, pool, sub, ip)
        mine = row.owner_key == key and row.attachment.if_name == claim.attachment.if_name
        if row.state is State.FREE or mine:
            return row
        if row.state is State.ALLOCATED or row.until is None or row.until > self.tx.clock():
            raise AddressTaken(pool.name, ip, row.state.value, row.holder())
        self.change(row, Kind.FREED, State.FREE, _over(row))  # as a sweep would have
        return catalog.row_of(self.tx, pool, sub, ip)

    def _pick_free(self, pool: Pool, subs: tuple[Sub, ...]) -> AddressRow | None:
        for sub in subs:
            start = start_of(pool.spec)
            while True:
                row = rows.pick_free(self.tx, pool.id, sub.ordinal, start)
                if row is not None:
                    return row
                if not catalog.grow(self.tx, pool, sub):
                    break
        return None

    def _give(self, pool: Pool, row: AddressRow, claim: Claim, reason: Reason) -> Allocation:
        event = Event(
            0, moment_of(self.tx, row), Kind.ALLOCATED, pool.name, row.ip, row.version + 1, State.ALLOCATED, claim.owner,
            claim.attachment, claim.node.name, None, claim.reason or reason.value, self.actor,
        )  # fmt: skip
        return allocation_of(pool.spec, row.ip, rows.append(self.tx, pool.id, event))

    def _exhausted(self, pool: Pool, family: Family) -> PoolExhausted:
        figures = catalog.figures(self.tx, pool)[0]
        return PoolExhausted(
            pool.name,
            family,
            capacity=pool.spec.capacity_of(family),
            **{s.value: figures.count(s, family) for s in (State.ALLOCATED, State.HELD, State.COOLING)},
        )

    def reclaim(self, seen: AddressRow, why: str) -> None:
        """Take an address back, if it is still as it was when its owner was asked about; else leave it alone."""
        row = rows.find_address(self.tx, seen.pool_id, seen.ip)
        if row is not None and row.version == seen.version:
            self.change(row, Kind.RECLAIMED, State.FREE, why)

    def adopt(self, pool: Pool, claim: Claim, ip: str) -> Event | None:
        """Record that the claim's owner has this address already; None if the ledger says so too."""
        sub = pool.spec.sub_of(ip)
        if sub is None:
            raise not_given(pool.spec, ip)
        row = catalog.row_of(self.tx, pool, sub, ip)
        key = owner_key(claim.owner, claim.attachment)
        if row.state is State.ALLOCATED:
            if row.owner_key == key:
                return None
            raise AddressTaken(pool.name, ip, row.state.value, row.holder())
        for other in rows.find_known(self.tx, pool.id, sub.family, key, claim.attachment):
            if other.state is State.ALLOCATED:
                raise OwnerHasAnother(pool.name, ip, other.ip, other.holder())
        event = Event(
            0, moment_of(self.tx, row), Kind.ADOPTED, pool.name, ip, row.version + 1, State.ALLOCATED, claim.owner,
            claim.attachment, claim.node.name, None, claim.reason, self.actor,
        )  # fmt: skip
        return rows.append(self.tx, pool.id, event)

    def released(self, row: AddressRow, reason: str, kind: Kind = Kind.RELEASED) -> Event:
        """To free, or to cooling where the pool says so."""
        cooldown = rows.cooldown(self.tx, row.pool_id)
        if not cooldown:
            return self.change(row, kind, State.FREE, reason)
        return self.change(
            row, kind, State.COOLING, reason, moment_of(self.tx, row) + timedelta(seconds=cooldown)
        )

    def change(
        self, row: AddressRow, kind: Kind, state: State, reason: str, until: datetime | None = None
    ) -> Event:
        """The next event of an address that keeps its (last) owner."""
        name = rows.pool_name(self.tx, row.pool_id)
        event = Event(
            0, moment_of(self.tx, row), kind, name, row.ip, row.version + 1, state, row.owner, row.attachment, row.node,
            until, str(reason), self.actor,
        )  # fmt: skip
        return rows.append(self.tx, row.pool_id, event)

    def sweep(self, pool: Pool | None = None) -> list[Event]:
        """Free the cooling and held addresses (of one pool) whose time has come, at most ``SWEEP_LIMIT``."""
        return quick.sweep(self.tx, SWEEP_LIMIT, pool.id if pool else None, self.actor)


def _over(row: AddressRow) -> str:
    return f"{row.state} until {row.until:%Y-%m-%dT%H:%M:%SZ}"


def moment_of(tx: Tx, row: AddressRow) -> datetime:
    """Now, by the database; never before the address's last event, even if the clock was set back."""
    now = tx.clock()
    return max(now, row.since) if row.since else now
