"""The pools' side of the book: create, update, delete, and the rows of their addresses.

One transaction at a time changes pools. An ADD that is settled step by step keeps the pool as it is meanwhile. One that
is settled by one statement locks no pool but the row it takes, and so does a change that drops an address: whichever
comes second sees what the first did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledger import pools, walk
from ledger.addresses import Family, to_int, to_text
from ledger.errors import InvalidPool, PoolInUse, PoolOverlap, Unfinished, UnknownPool
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.pools import PoolSpec, Sub
from ledger.store import Tx, fences, rows
from ledger.store.rows import AddressRow, Place, PoolRow


@dataclass(frozen=True, slots=True)
class Pool:
    """A live pool: its row's id and version, and its spec."""

    id: int
    version: int
    spec: PoolSpec

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class PoolChange:
    """What ``apply`` did: "created", "updated" or "unchanged" (then without an event)."""

    action: str
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """A pool and its counts, by family and state. ``free`` is what is left of ``capacity``.

    ``utilization`` is 0.0–1.0, of what is not free. ``exhausted``: the families of which nothing is free; an ADD needs
    one of each.
    """

    spec: PoolSpec
    version: int
    counts: Mapping[tuple[int, State], int]

    def count(self, state: State, family: Family | None = None) -> int:
        return sum(n for (f, s), n in self.counts.items() if s is state and family in (f, None))

    @property
    def allocated(self) -> int:
        return self.count(State.ALLOCATED)

    @property
    def held(self) -> int:
        return self.count(State.HELD)

    @property
    def cooling(self) -> int:
        return self.count(State.COOLING)

    @property
    def capacity(self) -> int:
        return self.spec.capacity

    @property
    def free(self) -> int:
        return max(0, self.capacity - sum(self.counts.values()))

    @property
    def utilization(self) -> float:
        return sum(self.counts.values()) / self.capacity

    @property
    def exhausted(self) -> tuple[Family, ...]:
        used = {
            family: sum(n for (f, _), n in self.counts.items() if f == family)
            for family in self.spec.families
        }
        return tuple(family for family, n in used.items() if n >= self.spec.capacity_of(family))


def load(tx: Tx, name: str, known: Mapping[str, Pool], *, keep: bool = False) -> Pool:
    """The live pool of that name; its spec is read anew only if it changed since ``known``. Raises UnknownPool.

    ``keep``: it does not change until the end of the transaction.
    """
    row = rows.find_pool(tx, name, lock="keep" if keep else None)
    if row is None or not row.live:
        raise UnknownPool(name)
    pool = known.get(name)
    return pool if pool and pool.version == row.version else read(row)


def read(row: PoolRow) -> Pool:
    return Pool(row.id, row.version, pools.from_spec(row.name, row.spec))


def figures(tx: Tx, wanted: Pool | None = None) -> list[PoolFigures]:
    """The counts of one pool, or of all live ones, in order of their names."""
    live = [wanted] if wanted else [read(row) for row in rows.live_pools(tx)]
    counts = rows.count_states(tx, [pool.id for pool in live] if wanted else None)
    return [PoolFigures(pool.spec, pool.version, counts.get(pool.id, {})) for pool in live]


def refuse_half(tx: Tx) -> None:
    """Raise Unfinished where an import was interrupted: nothing but its end may be written there, or be copied."""
    if fences.half_imported(tx):
        raise Unfinished


def apply(tx: Tx, spec: PoolSpec, *, actor: str, reason: str | None) -> PoolChange:
    """Create or update a pool. Raises PoolOverlap, PoolInUse, InvalidPool; then nothing has changed."""
    rows.lock_pools(tx)
    refuse_half(tx)
    row = rows.find_pool(tx, spec.name, lock="change")
    current = read(row) if row and row.live else None
    if current and pools.same(current.spec, spec):
        return PoolChange("unchanged")
    if current and current.spec.address_space != spec.address_space:
        raise InvalidPool(
            "spec.addressSpace", spec.address_space,
            f"cannot be changed (it is {current.spec.address_space!r}): make a new pool instead",
        )  # fmt: skip
    _refuse_overlap(tx, spec)
    version = row.version + 1 if row else 1
    values = {
        "address_space": spec.address_space,
        "cooldown_seconds": spec.cooldown_seconds,
        "version": version,
        "live": True,
        "spec": dict(spec.raw),
    }
    if row:
        pool_id = row.id
        rows.update_pool(tx, pool_id, values)
    else:
        pool_id = rows.create_pool(tx, spec.name, values)
    _place_all(tx, pool_id, spec, current.spec if current else None)
    kind = Kind.POOL_UPDATED if current else Kind.POOL_CREATED
    event = rows.append_pool(tx, pool_id, _pool_event(tx, pool_id, kind, spec, version, actor, reason))
    return PoolChange("updated" if current else "created", event)


def delete(tx: Tx, name: str, *, actor: str, reason: str | None) -> Event:
    """Delete a pool; its history stays. Raises UnknownPool, PoolInUse."""
    rows.lock_pools(tx)
    row = rows.find_pool(tx, name, lock="change")
    if row is None or not row.live:
        raise UnknownPool(name)
    in_use = (State.ALLOCATED, State.HELD)
    _refuse_in_use(name, rows.list_states(tx, row.id, in_use))
    rows.drop_unused(tx, row.id)  # waits for every ADD that has locked a row, hence the second look
    _refuse_in_use(name, rows.list_states(tx, row.id, in_use))
    rows.forget_subs(tx, row.id)
    rows.update_pool(tx, row.id, {"live": False, "version": row.version + 1})
    spec = read(row).spec
    return rows.append_pool(
        tx, row.id, _pool_event(tx, row.id, Kind.POOL_DELETED, spec, row.version + 1, actor, reason)
    )


def grow(tx: Tx, pool: Pool, sub: Sub) -> bool:
    """Give rows to the next chunk of a large sub; False if all its addresses have rows. One transaction at a time does.

    The pool is to be kept meanwhile (see ``load``).
    """
    if sub.capacity <= walk.WHOLE:
        return False
    walked = rows.walked(tx, pool.id, sub.ordinal)
    if walked >= sub.capacity:
        return False
    while walked < sub.capacity:
        made = rows.materialise(tx, pool.id, _places(pool.spec, sub, walked, walk.CHUNK))
        walked = min(walked + walk.CHUNK, sub.capacity)
        if made:
            break
    rows.set_walked(tx, pool.id, sub.ordinal, walked)
    return True


def row_of(tx: Tx, pool: Pool, sub: Sub, ip: str) -> AddressRow:
    """The row of one address, locked; made if the address had none yet. The pool is to be kept meanwhile (see ``load``)."""
    found = rows.find_address(tx, pool.id, ip)
    if found is None:
        # Unlocked: if the walk comes here meanwhile, the row is what both write, and the walk's place for it stays.
        walked = rows.walked(tx, pool.id, sub.ordinal, lock=False)
        place = Place(ip, sub.family, sub.ordinal, walk.rnd_of(pool.spec, sub, to_int(ip)[1], walked))
        rows.materialise(tx, pool.id, [place])
        found = rows.find_address(tx, pool.id, ip)
        assert found is not None
    return found


def _refuse_overlap(tx: Tx, spec: PoolSpec) -> None:
    for other in rows.live_pools(tx):
        if other.name == spec.name or other.address_space != spec.address_space:
            continue
        shared = pools.overlap(spec, read(other).spec)
        if shared is not None:
            raise PoolOverlap(spec.name, other.name, spec.address_space, shared)


def _refuse_in_use(name: str, in_use: list[AddressRow]) -> None:
    if in_use:
        first = min(in_use, key=lambda row: to_int(row.ip))
        raise PoolInUse(name, first.ip, first.holder(), len(in_use))


def _place_all(tx: Tx, pool_id: int, spec: PoolSpec, before: PoolSpec | None) -> None:
    """Make the rows of a pool what its spec says: drop those that leave, move those that move, add the new."""
    # Places of a Lowest pool are in order, which is what Random must not find
    redraw = spec.pick_strategy == "Lowest" or (before is not None and before.pick_strategy == "Lowest")
    done = (
        {_walk_of(before, sub): rows.walked(tx, pool_id, sub.ordinal) for sub in before.subs}
        if before
        else {}
    )
    walked = {sub.ordinal: done.get(_walk_of(spec, sub), 0) for sub in spec.subs}
    leaving: list[str] = []
    moving: list[Place] = []
    for old in rows.list_places(tx, pool_id):
        sub = spec.sub_of(old.ip)
        if sub is None:
            leaving.append(old.ip)
            continue
        if spec.static_owner(old.ip):
            rnd = None
        elif redraw or old.rnd is None:
            rnd = walk.rnd_of(spec, sub, to_int(old.ip)[1], walked[sub.ordinal])
        else:
            rnd = old.rnd
        if (sub.ordinal, rnd) != (old.sub, old.rnd):
            moving.append(Place(old.ip, old.family, sub.ordinal, rnd))
    locked = rows.lock_addresses(tx, pool_id, leaving)
    _refuse_in_use(spec.name, [row for row in locked if row.state in (State.ALLOCATED, State.HELD)])
    rows.drop_unused(tx, pool_id, leaving)
    rows.place(tx, pool_id, moving)
    rows.forget_subs(tx, pool_id)
    for sub in spec.subs:
        at, count = walked[sub.ordinal], walk.first_walk(sub)
        if at < count:
            rows.materialise(tx, pool_id, _places(spec, sub, at, count - at))
        rows.set_walked(tx, pool_id, sub.ordinal, max(at, count))


def _walk_of(spec: PoolSpec, sub: Sub) -> object:
    """What a sub's walk depends on: while this is the same, the walk goes on from where it stands."""
    return sub.range, sub.given, spec.pick_strategy


def _places(spec: PoolSpec, sub: Sub, walked: int, count: int) -> list[Place]:
    return [
        Place(to_text(sub.family, at), sub.family, sub.ordinal, walk.rnd_of(spec, sub, at, walked + count))
        for at in walk.steps(spec, sub, walked, count)
    ]


def _pool_event(
    tx: Tx, pool_id: int, kind: Kind, spec: PoolSpec, version: int, actor: str, reason: str | None
) -> Event:
    before, now = rows.pool_changed(tx, pool_id), tx.clock()
    at = max(before, now) if before else now  # even if the clock was set back
    nobody = (Owner(), Attachment(""), None, None)
    return Event(0, at, kind, spec.name, None, version, None, *nobody, reason, actor, spec.raw)
