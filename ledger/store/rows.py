"""The statements of a write transaction, one small step each, the same on both dialects.

``append`` is the only function that changes an address: it writes the event and the row's new state
together (law 2), and only if the row is at the version that the event follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from ledger.events import Attachment, Event, Owner, State, holder, owner_key, storable
from ledger.schema import address, ledger, pool, sub
from ledger.store.database import Conflict, Tx

# Literals, not parameters: a generic plan must be able to see that the partial index fits.
FREE: sa.ColumnElement[bool] = address.c.state == sa.literal_column("'free'")
ALLOCATED: sa.ColumnElement[bool] = address.c.state == sa.literal_column("'allocated'")
NOT_ALLOCATED: sa.ColumnElement[bool] = address.c.state != sa.literal_column("'allocated'")

_CHUNK = 5_000
"""Rows a statement when many are written: under both engines' parameter limits, and a short lock."""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool as stored. ``version`` is of its newest event; ``live`` is False once it was deleted."""

    id: int
    name: str
    address_space: str
    version: int
    live: bool
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AddressRow:
    """An address as it is now. ``version`` 0: never used; ``rnd`` None: never picked at random."""

    pool_id: int
    ip: str
    family: int
    sub: int
    rnd: int | None
    version: int
    state: State
    since: datetime | None
    owner_key: str | None
    owner: Owner
    attachment: Attachment
    node: str | None
    until: datetime | None

    def holder(self) -> str:
        return holder(self.owner, self.attachment)


def _pool_row(row: Any) -> PoolRow:
    return PoolRow(row.id, row.name, row.address_space, row.version, row.live, row.spec)


def _address_row(row: Any) -> AddressRow:
    return AddressRow(
        pool_id=row.pool_id,
        ip=row.ip,
        family=row.family,
        sub=row.sub,
        rnd=row.rnd,
        version=row.version,
        state=State(row.state),
        since=row.since,
        owner_key=row.owner,
        owner=Owner(row.namespace, row.pod, row.pod_uid),
        attachment=Attachment(row.container_id or "", row.if_name or "", row.network or ""),
        node=row.node,
        until=row.until,
    )


# Pools ------------------------------------------------------------------------------------------


def lock_pools(tx: Tx) -> None:
    """Let one transaction at a time change pools (SQLite: it is the one writer already)."""
    if not tx.sqlite:
        tx.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('ipam-ledger pools'))")


def find_pool(tx: Tx, name: str, *, lock: Literal["keep", "change"] | None = None) -> PoolRow | None:
    """The pool of that name, deleted or not. ``lock``: until the end of the transaction nobody changes it, or looks at it to keep it."""
    if not storable(name):
        return None
    query = sa.select(pool).where(pool.c.name == name)
    row = tx.execute(query.with_for_update(read=lock == "keep") if lock else query).first()
    return _pool_row(row) if row else None


def live_pools(tx: Tx) -> list[PoolRow]:
    return [_pool_row(row) for row in tx.execute(sa.select(pool).where(pool.c.live).order_by(pool.c.name))]


def create_pool(tx: Tx, name: str, values: Mapping[str, Any]) -> int:
    return int(tx.execute(sa.insert(pool).values(name=name, **values).returning(pool.c.id)).scalar_one())


def update_pool(tx: Tx, pool_id: int, values: Mapping[str, Any]) -> None:
    tx.execute(sa.update(pool).where(pool.c.id == pool_id).values(**values))


def pool_changed(tx: Tx, pool_id: int) -> datetime | None:
    """The time of the pool's newest event, None if it has none yet."""
    query = sa.select(ledger.c.at).where(ledger.c.pool_id == pool_id, ledger.c.ip.is_(None))
    return tx.execute(query.order_by(ledger.c.version.desc()).limit(1)).scalar()


def pool_name(tx: Tx, pool_id: int) -> str:
    return str(tx.execute(sa.select(pool.c.name).where(pool.c.id == pool_id)).scalar_one())


def cooldown(tx: Tx, pool_id: int) -> int:
    """Seconds that a released address of the pool is kept from other owners."""
    return int(tx.execute(sa.select(pool.c.cooldown_seconds).where(pool.c.id == pool_id)).scalar_one())


def count_states(tx: Tx, pool_ids: Sequence[int] | None = None) -> dict[int, Counter[tuple[int, State]]]:
    """How many addresses of each pool are not free, by family and state. Free ones are not counted: not all have rows."""
    columns = address.c.pool_id, address.c.family, address.c.state
    used = address.c.state != State.FREE.value, address.c.sub >= 0  # what left the pool may be cooling still
    query = sa.select(*columns, sa.func.count()).where(*used).group_by(*columns)
    if pool_ids is not None:
        query = query.where(address.c.pool_id.in_(pool_ids))
    out: dict[int, Counter[tuple[int, State]]] = {}
    for pool_id, family, state, count in tx.execute(query):
        out.setdefault(pool_id, Counter())[family, State(state)] = count
    return out


# Addresses: finding -----------------------------------------------------------------------------


def find_known(tx: Tx, pool_id: int, family: int, owner: str, attachment: Attachment) -> list[AddressRow]:
    """The addresses of one family that this attachment or this owner (on this interface) holds or had last, locked."""
    query = sa.select(address).where(address.c.pool_id == pool_id, address.c.family == family)
    mine = query.where(
        ALLOCATED,
        address.c.container_id == attachment.container_id,
        address.c.if_name == attachment.if_name,
        address.c.network == attachment.network,
    )
    by_owner = query.where(address.c.owner == owner, address.c.if_name == attachment.if_name)
    found: dict[str, AddressRow] = {}
    for part in (
        mine,
        by_owner.where(ALLOCATED),
        by_owner.where(NOT_ALLOCATED, address.c.owner.is_not(None)).order_by(address.c.since.desc()).limit(8),
    ):
        for row in tx.execute(part.with_for_update()):
            found[row.ip] = _address_row(row)
    return list(found.values())


def find_attachment(tx: Tx, attachment: Attachment) -> list[AddressRow]:
    """Every address that this attachment holds, in whatever pool."""
    query = sa.select(address).where(
        ALLOCATED,
        address.c.container_id == attachment.container_id,
        address.c.if_name == attachment.if_name,
        address.c.network == attachment.network,
    )
    return [_address_row(row) for row in tx.execute(query)]


def find_address(tx: Tx, pool_id: int, ip: str) -> AddressRow | None:
    """One address, locked."""
    query = sa.select(address).where(address.c.pool_id == pool_id, address.c.ip == ip)
    row = tx.execute(query.with_for_update()).first()
    return _address_row(row) if row else None


def pick_free(tx: Tx, pool_id: int, ordinal: int, start: int) -> AddressRow | None:
    """The first free address after ``start`` in picking order, wrapping once; those others are at are passed over."""
    query = (
        sa.select(address)
        .where(address.c.pool_id == pool_id, address.c.sub == ordinal, FREE)
        .order_by(address.c.rnd)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    for part in (address.c.rnd > start, address.c.rnd < start):
        row = tx.execute(query.where(part)).first()
        if row:
            return _address_row(row)
    return None


def any_free(tx: Tx, pool_id: int, ordinals: Sequence[int]) -> bool:
    """Whether anything could be picked from these subs once others let go of it."""
    query = sa.select(address.c.ip).where(address.c.pool_id == pool_id, address.c.sub.in_(ordinals), FREE)
    return tx.execute(query.where(address.c.rnd >= 0).limit(1)).first() is not None


def reclaimable(tx: Tx, pool_id: int, ordinals: Sequence[int]) -> list[str]:
    """The allocated addresses of these subs but for static reservations."""
    query = sa.select(address.c.ip).where(
        address.c.pool_id == pool_id, address.c.sub.in_(ordinals), ALLOCATED
    )
    return list(tx.execute(query.where(address.c.rnd.is_not(None))).scalars())


def list_allocated(tx: Tx, pool_id: int, ips: Sequence[str]) -> list[AddressRow]:
    """Those of these addresses that are allocated, in the order given."""
    query = sa.select(address).where(ALLOCATED)
    if tx.sqlite:
        query = query.where(address.c.pool_id == pool_id, address.c.ip.in_(ips))
    else:  # joined, or the planner may rather read the whole pool
        asked = sa.func.unnest(
            sa.literal([pool_id] * len(ips), pg.ARRAY(sa.Integer)), sa.literal(ips, pg.ARRAY(pg.INET))
        )
        these = asked.table_valued("pool_id", "ip").render_derived()
        query = query.join(these, sa.and_(address.c.pool_id == these.c.pool_id, address.c.ip == these.c.ip))
    found = {row.ip: _address_row(row) for row in tx.execute(query)}
    return [found[ip] for ip in ips if ip in found]


def list_on_network(tx: Tx, network: str, node: str) -> list[AddressRow]:
    """The addresses allocated on one node to one network, locked."""
    query = sa.select(address).where(ALLOCATED, address.c.network == network, address.c.node == node)
    return [_address_row(row) for row in tx.execute(query.order_by(address.c.ip).with_for_update())]


def list_states(tx: Tx, pool_id: int, states: Sequence[State]) -> list[AddressRow]:
    """The addresses of a pool in these states, locked, in a fixed order (so that two such readers cannot deadlock)."""
    query = sa.select(address).where(
        address.c.pool_id == pool_id, address.c.state.in_([s.value for s in states])
    )
    return [_address_row(row) for row in tx.execute(query.order_by(address.c.ip).with_for_update())]


# Addresses: changing ----------------------------------------------------------------------------


def append(tx: Tx, pool_id: int, event: Event) -> Event:
    """Write an address's event and its row's new state together; returns the event with its ``seq``.

    Raises Conflict if the row is not at ``event.version - 1``: somebody else was there first.
    """
    assert event.ip is not None and event.state is not None
    holder = _holder_values(event)
    updated = tx.execute(
        sa.update(address)
        .where(address.c.pool_id == pool_id, address.c.ip == event.ip, address.c.version == event.version - 1)
        .values(
            version=event.version,
            state=event.state.value,
            since=event.at,
            owner=owner_key(event.owner, event.attachment),
            **holder,
        )
    )
    if updated.rowcount != 1:
        raise Conflict(f"{event.ip} has just changed")
    return _insert_event(tx, pool_id, event, holder)


def append_pool(tx: Tx, pool_id: int, event: Event) -> Event:
    """Write an event of the pool itself (its row is changed by ``create_pool`` and ``update_pool``)."""
    return _insert_event(tx, pool_id, event, {})


def _holder_values(event: Event) -> dict[str, Any]:
    return {
        "namespace": event.owner.namespace,
        "pod": event.owner.pod,
        "pod_uid": event.owner.uid,
        "container_id": event.attachment.container_id,
        "if_name": event.attachment.if_name,
        "network": event.attachment.network,
        "node": event.node,
        "until": event.until,
    }


def _insert_event(tx: Tx, pool_id: int, event: Event, holder: Mapping[str, Any]) -> Event:
    seq = tx.execute(
        sa.insert(ledger)
        .values(
            xid=0 if tx.sqlite else sa.func.pg_current_xact_id(),
            at=event.at,
            pool_id=pool_id,
            ip=event.ip,
            version=event.version,
            kind=event.kind.value,
            state=event.state.value if event.state else None,
            reason=event.reason,
            actor=event.actor,
            spec=dict(event.spec) if event.spec is not None else sa.null(),
            **holder,
        )
        .returning(ledger.c.seq)
    ).scalar_one()
    return Event(
        seq, event.at, event.kind, event.pool, event.ip, event.version, event.state, event.owner, event.attachment,
        event.node, event.until, event.reason, event.actor, event.spec,
    )  # fmt: skip


# Addresses: the rows themselves -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address stands in the picking order: its sub, and its ``rnd`` (None: never picked; -1: not yet)."""

    ip: str
    family: int
    sub: int
    rnd: int | None


def materialise(tx: Tx, pool_id: int, places: Iterable[Place]) -> int:
    """Give rows to addresses that have none; one that has a row but no place in the order gets that. Returns how many."""
    done = 0
    for chunk in _chunks(places):
        columns = (
            [p.ip for p in chunk],
            [p.family for p in chunk],
            [p.sub for p in chunk],
            [p.rnd for p in chunk],
        )
        if tx.sqlite:
            rows = [(pool_id, *row) for row in zip(*columns, strict=True)]
            result = tx.connection.exec_driver_sql(
                _MATERIALISE.format("VALUES (?, ?, ?, ?, ?, 0, 'free')"), rows
            )
        else:
            source = "SELECT %s, *, 0, 'free' FROM unnest(%s::inet[], %s::int[], %s::int[], %s::bigint[])"
            result = tx.connection.exec_driver_sql(_MATERIALISE.format(source), (pool_id, *columns))
        done += max(0, result.rowcount)
    return done


_MATERIALISE = """
    INSERT INTO address (pool_id, ip, family, sub, rnd, version, state) {}
    ON CONFLICT (pool_id, ip) DO UPDATE SET sub = excluded.sub, rnd = excluded.rnd
    WHERE address.sub <> excluded.sub OR (coalesce(address.rnd, -1) < 0 AND excluded.rnd IS NOT NULL)
"""


def list_places(tx: Tx, pool_id: int) -> list[Place]:
    """Every row of a pool, unlocked."""
    query = sa.select(address.c.ip, address.c.family, address.c.sub, address.c.rnd)
    return [Place(*row) for row in tx.execute(query.where(address.c.pool_id == pool_id))]


def lock_addresses(tx: Tx, pool_id: int, ips: Sequence[str]) -> list[AddressRow]:
    out: list[AddressRow] = []
    for chunk in _chunks(sorted(ips)):
        query = sa.select(address).where(address.c.pool_id == pool_id, address.c.ip.in_(chunk))
        out += [_address_row(row) for row in tx.execute(query.order_by(address.c.ip).with_for_update())]
    return out


def drop_unused(tx: Tx, pool_id: int, ips: Sequence[str] | None = None) -> None:
    """Remove rows of addresses that were never used; those with a history stay, out of the picking order."""
    never = sa.delete(address).where(address.c.pool_id == pool_id, address.c.version == 0)
    retire = sa.update(address).where(address.c.pool_id == pool_id).values(sub=-1, rnd=None)
    if ips is None:
        tx.execute(never)
        tx.execute(retire)
        return
    for chunk in _chunks(ips):
        tx.execute(never.where(address.c.ip.in_(chunk)))
        tx.execute(retire.where(address.c.ip.in_(chunk)))


def place(tx: Tx, pool_id: int, places: Iterable[Place]) -> None:
    """Put addresses that have rows at other places in the picking order."""
    for chunk in _chunks(places):
        if tx.sqlite:
            moved = "UPDATE address SET sub = ?, rnd = ? WHERE pool_id = ? AND ip = ?"
            tx.connection.exec_driver_sql(moved, [(p.sub, p.rnd, pool_id, p.ip) for p in chunk])
        else:
            columns = ([p.ip for p in chunk], [p.sub for p in chunk], [p.rnd for p in chunk])
            moved = """
                UPDATE address a SET sub = p.sub, rnd = p.rnd
                FROM unnest(%s::inet[], %s::int[], %s::bigint[]) AS p(ip, sub, rnd) WHERE a.pool_id = %s AND a.ip = p.ip
            """
            tx.connection.exec_driver_sql(moved, (*columns, pool_id))


def walked(tx: Tx, pool_id: int, ordinal: int, *, lock: bool = True) -> int:
    """How far a sub's addresses have been given rows; locked, one transaction at a time goes on."""
    query = sa.select(sub.c.walked).where(sub.c.pool_id == pool_id, sub.c.ordinal == ordinal)
    return tx.execute(query.with_for_update() if lock else query).scalar_one_or_none() or 0


def set_walked(tx: Tx, pool_id: int, ordinal: int, count: int) -> None:
    where = (sub.c.pool_id == pool_id) & (sub.c.ordinal == ordinal)
    if tx.execute(sa.update(sub).where(where).values(walked=count)).rowcount == 0:
        tx.execute(sa.insert(sub).values(pool_id=pool_id, ordinal=ordinal, walked=count))


def forget_subs(tx: Tx, pool_id: int) -> None:
    tx.execute(sa.delete(sub).where(sub.c.pool_id == pool_id))


def _chunks(items: Iterable[Any]) -> Iterable[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
