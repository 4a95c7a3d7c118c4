"""Looking for what is wrong, set-wise: each query is quick where all is well, and names the rows where it is not.

All of them run in one snapshot that blocks no writer. Columns are compared as the database has them, so that nothing is
lost in translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.errors import InvalidInput, LedgerCorrupt
from ledger.events import Event, State
from ledger.schema import address, ledger, pool, sub
from ledger.store.database import Tx
from ledger.store.history import _EVENTS, _LEDGER_AND_POOL, _POOL_NAME, _event, by_seq, rows_of

HOLDER = ("namespace", "pod", "pod_uid", "container_id", "if_name", "network", "node")
"""What an address and its newest event have in common besides version, state, time, owner and until."""

_OF_ADDRESS = ledger.c.ip.is_not(None)
_NAMES_OWNER = ledger.c.kind.in_(("Allocated", "Adopted"))


_OTHER_SHAPE = {"42P01", "42703", "42883", "42804", "SQLITE_ERROR"}
"""No such table, column or operator; a type that does not fit; SQLite has one code for them all."""


@contextmanager
def apart(tx: Tx) -> Iterator[None]:
    """For one check: where a value cannot even be read, LedgerCorrupt says so, and the transaction goes on without it."""
    try:
        with tx.connection.begin_nested():
            yield
    except (sa.exc.DataError, InvalidInput, ValueError, TypeError, ArithmeticError, LookupError) as error:
        what = getattr(error, "orig", error)
        raise LedgerCorrupt(f"a value cannot be read: {type(what).__name__}: {what}") from error
    except (sa.exc.ProgrammingError, sa.exc.OperationalError) as error:
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
        if state not in _OTHER_SHAPE:
            raise
        what = str(error.orig).partition("\n")[0]
        raise LedgerCorrupt(f"a table is missing or not as our schema makes it: {what}") from error


def totals(tx: Tx) -> tuple[int, int]:
    """How many events there are, and how many addresses that were ever used."""
    events = tx.execute(sa.select(sa.func.count()).select_from(ledger)).scalar_one()
    used = sa.select(sa.func.count()).select_from(address).where(address.c.version > 0)
    return int(events), int(tx.execute(used).scalar_one())


# Streams ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """Events that are alike: kind, the state before (None: the first of its stream) and after."""

    kind: str
    before: str | None
    after: str | None
    same_owner: bool
    has_until: bool
    back: bool


# Eight bytes stand for the seven texts of a holder, hashed one by one: a whole row takes twice as long. A null is no text. Who
# names an owner is not compared. The volatile clock keeps each side from being flattened into the join, which then would carry
# the texts.
_HOLDER = " # ".join(
    f'coalesce(hashtextextended({name} COLLATE "C", {place}), {place})' for place, name in enumerate(HOLDER)
)
_SIDE = """
    SELECT pool_id, ip, {version} AS version, kind, state, at, until IS NOT NULL AS ends, clock_timestamp() AS fence,
           {holder} AS holder
    FROM ledger WHERE ip IS NOT NULL
"""
_AFTER = _SIDE.format(
    version="version", holder=f"CASE WHEN kind NOT IN ('Allocated', 'Adopted') THEN {_HOLDER} END"
)
_PG_STEPS = f"""
    SELECT l.kind, p.state, l.state, l.holder IS NULL OR p.holder IS NULL OR l.holder = p.holder, l.ends,
           coalesce(l.at < p.at, false)
    FROM ({_AFTER}) AS l LEFT JOIN ({_SIDE.format(version="version + 1", holder=_HOLDER)}) AS p USING (pool_id, ip, version)
    GROUP BY 1, 2, 3, 4, 5, 6
"""  # noqa: S608 - constants only


def steps(tx: Tx) -> list[Step]:
    """Every way in which an address went from one event to the next."""
    if tx.sqlite:
        columns, source = _steps()
        query = sa.select(*columns).select_from(source).where(_OF_ADDRESS)
        found = tx.execute(query.group_by(*columns))
    else:
        # PostgreSQL takes a hash of three columns for no better than one of them, and would rather sort the whole ledger
        # several times, which takes five times as long
        tx.connection.exec_driver_sql("SET LOCAL enable_mergejoin = off")
        found = tx.connection.exec_driver_sql(_PG_STEPS)
        tx.connection.exec_driver_sql("SET LOCAL enable_mergejoin = on")
    return [Step(k, b, a, bool(same), bool(until), bool(back)) for k, b, a, same, until, back in found]


def events_of_step(tx: Tx, step: Step, limit: int) -> list[tuple[int, int, str, str]]:
    """The first events of such a step: (position, version, pool, address)."""
    columns, source = _steps()
    values = (step.kind, step.before, step.after, step.same_owner, step.has_until, step.back)
    like = [column.is_not_distinct_from(value) for column, value in zip(columns, values, strict=True)]
    seqs = (
        sa.select(ledger.c.seq)
        .select_from(source)
        .where(_OF_ADDRESS, *like)
        .order_by(ledger.c.seq)
        .limit(limit)
    )
    found = sa.select(ledger.c.seq, ledger.c.version, _POOL_NAME, ledger.c.ip).select_from(_LEDGER_AND_POOL)
    return [tuple(row) for row in tx.execute(found.where(ledger.c.seq.in_(seqs)).order_by(ledger.c.seq))]


def _steps() -> tuple[list[sa.ColumnElement[Any]], Any]:
    prev = ledger.alias("prev")
    same = sa.and_(*(ledger.c[name].is_not_distinct_from(prev.c[name]) for name in HOLDER))
    columns: list[sa.ColumnElement[Any]] = [
        ledger.c.kind,
        prev.c.state,
        ledger.c.state,
        sa.or_(_NAMES_OWNER, prev.c.seq.is_(None), same),
        ledger.c.until.is_not(None),
        sa.func.coalesce(ledger.c.at < prev.c.at, sa.false()),
    ]
    source = ledger.outerjoin(
        prev,
        sa.and_(
            prev.c.pool_id == ledger.c.pool_id,
            prev.c.ip == ledger.c.ip,
            prev.c.version == ledger.c.version - 1,
        ),
    )
    return [column.label(f"s{i}") for i, column in enumerate(columns)], source


@dataclass(frozen=True, slots=True)
class Gap:
    """A stream (``ip`` None: the pool's own) whose versions are not 1 … ``newest``; ``missing``: the first that is not there."""

    pool: str
    ip: str | None
    newest: int
    count: int
    missing: int


def gaps(tx: Tx, limit: int) -> list[Gap]:
    """Streams of addresses and of pools with gaps."""
    c = ledger.c
    bad = (
        sa.select(c.pool_id, c.ip, sa.func.count(), sa.func.max(c.version))
        .group_by(c.pool_id, c.ip)
        .having(sa.func.count() != sa.func.max(c.version))
        .limit(limit)
    )
    found = []
    names = _pool_names(tx)
    for pool_id, ip, count, newest in tx.execute(bad):
        mine = c.ip.is_(None) if ip is None else c.ip == ip
        there = tx.execute(
            sa.select(c.version).where(c.pool_id == pool_id, mine).order_by(c.version)
        ).scalars()
        missing = next((n for n, version in enumerate(there, 1) if n != version), newest)
        found.append(Gap(names.get(pool_id, f"#{pool_id}"), ip, newest, count, missing))
    return found


def _pool_names(tx: Tx) -> dict[int, str]:
    return {row.id: row.name for row in tx.execute(sa.select(pool.c.id, pool.c.name))}


# The live state ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """An address that is not what its newest event says. ``seq`` None: it has no event at all.

    ``columns``: name -> (what the row says, what the ledger says); empty where there is no row.
    """

    pool: str
    ip: str
    seq: int | None
    columns: dict[str, tuple[Any, Any]]


def differences(tx: Tx, limit: int) -> list[Difference]:
    """Where the address table is not the replay of the ledger."""
    found = _differing(tx, limit)
    found += _without_events(tx, limit)
    return found + _unused_but_not_blank(tx, limit)


def _differing(tx: Tx, limit: int) -> list[Difference]:
    c = ledger.c
    newest = (
        sa.select(c.pool_id, c.ip, sa.func.max(c.version).label("version"))
        .where(_OF_ADDRESS)
        .group_by(c.pool_id, c.ip)
        .subquery("newest")
    )
    owner = sa.case(
        (sa.and_(c.namespace.is_not(None), c.pod.is_not(None)), c.namespace + "/" + c.pod),
        else_=c.container_id,
    )
    says: dict[str, sa.ColumnElement[Any]] = {
        "version": c.version,
        "state": c.state,
        "since": c.at,
        "owner": owner,
        **{name: c[name] for name in HOLDER},
        "until": c.until,
        "family": _family(tx, c.ip),
    }
    differs = [address.c[name].is_distinct_from(value) for name, value in says.items()]
    query = (
        sa.select(
            pool.c.name.label("pool_name"),
            c.pool_id,
            c.ip,
            c.seq,
            address.c.ip.label("there"),
            *(address.c[name].label(f"row_{name}") for name in says),
            *(value.label(f"ledger_{name}") for name, value in says.items()),
        )
        .select_from(
            newest.join(
                ledger,
                sa.and_(c.pool_id == newest.c.pool_id, c.ip == newest.c.ip, c.version == newest.c.version),
            )
            .outerjoin(address, sa.and_(address.c.pool_id == c.pool_id, address.c.ip == c.ip))
            .outerjoin(pool, pool.c.id == c.pool_id)
        )
        .where(sa.or_(*differs))
        .limit(limit)
    )
    return [
        Difference(
            row.pool_name or f"#{row.pool_id}",
            row.ip,
            row.seq,
            {
                name: (row._mapping[f"row_{name}"], row._mapping[f"ledger_{name}"])
                for name in says
                if row._mapping[f"row_{name}"] != row._mapping[f"ledger_{name}"]
            }
            if row.there is not None
            else {},
        )
        for row in tx.execute(query)
    ]


def _family(tx: Tx, ip: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if not tx.sqlite:
        return sa.func.family(ip, type_=sa.Integer)
    return sa.case((sa.func.instr(ip, ":") > 0, 6), else_=4)


def _without_events(tx: Tx, limit: int) -> list[Difference]:
    """Rows that claim a history, of which the ledger knows nothing."""
    none = ~sa.exists().where(ledger.c.pool_id == address.c.pool_id, ledger.c.ip == address.c.ip)
    return _claims(tx, sa.and_(address.c.version > 0, none), limit)


def _unused_but_not_blank(tx: Tx, limit: int) -> list[Difference]:
    """Rows that were never used, yet say something. (Had they events, their version would differ already.)"""
    says = [address.c[name].is_not(None) for name in ("since", "owner", *HOLDER, "until")]
    blank = sa.and_(address.c.state == State.FREE.value, sa.not_(sa.or_(*says)))
    none = ~sa.exists().where(ledger.c.pool_id == address.c.pool_id, ledger.c.ip == address.c.ip)
    return _claims(tx, sa.and_(address.c.version == 0, sa.not_(blank), none), limit)


def _claims(tx: Tx, where: sa.ColumnElement[bool], limit: int) -> list[Difference]:
    query = (
        sa.select(address, pool.c.name.label("pool_name"))
        .select_from(address.outerjoin(pool, pool.c.id == address.c.pool_id))
        .where(where)
        .limit(limit)
    )
    names = ("version", "state", "since", "owner", *HOLDER, "until")
    blank = {"version": 0, "state": State.FREE.value}
    return [
        Difference(
            row.pool_name or f"#{row.pool_id}",
            row.ip,
            None,
            {
                name: (row._mapping[name], blank.get(name))
                for name in names
                if row._mapping[name] != blank.get(name)
            },
        )
        for row in tx.execute(query)
    ]


# Pools ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredPool:
    """A pool's row, every column."""

    id: int
    name: str
    address_space: str
    cooldown_seconds: int
    version: int
    live: bool
    spec: Any


def stored_pools(tx: Tx) -> list[StoredPool]:
    return [
        StoredPool(r.id, r.name, r.address_space, r.cooldown_seconds, r.version, bool(r.live), r.spec)
        for r in tx.execute(sa.select(pool).order_by(pool.c.id))
    ]


def pool_events(tx: Tx) -> Iterator[tuple[int, Event]]:
    """The pools' own events, each with its pool's id: stream by stream, in order of their versions."""
    query = _EVENTS.where(ledger.c.ip.is_(None)).order_by(ledger.c.pool_id, ledger.c.version)
    for row in rows_of(tx, query):
        yield row.pool_id, _event(row)


def orphans(tx: Tx) -> list[tuple[int, int, int]]:
    """Pool ids that events name but no row has: (id, first event, how many)."""
    none = ~sa.exists().where(pool.c.id == ledger.c.pool_id)
    query = sa.select(ledger.c.pool_id, sa.func.min(ledger.c.seq), sa.func.count()).where(none)
    return [(a, b, c) for a, b, c in tx.execute(query.group_by(ledger.c.pool_id))]


def in_use(tx: Tx, pool_id: int, limit: int) -> list[tuple[str, str]]:
    """Addresses of a pool that somebody holds, with their states."""
    query = sa.select(address.c.ip, address.c.state).where(
        address.c.pool_id == pool_id, address.c.state.in_((State.ALLOCATED.value, State.HELD.value))
    )
    return [(ip, state) for ip, state in tx.execute(query.limit(limit))]


@dataclass(frozen=True, slots=True)
class Stand:
    """Where an address stands in the picking order; ``rnd`` None: it is never picked."""

    ip: str
    family: int
    sub: int
    rnd: int | None
    allocated: bool


def stands(tx: Tx, pool_id: int) -> Iterator[Stand]:
    c = address.c
    for ip, family, ordinal, rnd, state in rows_of(
        tx, sa.select(c.ip, c.family, c.sub, c.rnd, c.state).where(c.pool_id == pool_id)
    ):
        yield Stand(ip, family, ordinal, rnd, state == "allocated")


def astray(tx: Tx) -> list[tuple[int, int]]:
    """Pool ids that addresses name but no row has: (id, how many)."""
    none = ~sa.exists().where(pool.c.id == address.c.pool_id)
    query = sa.select(address.c.pool_id, sa.func.count()).where(none).group_by(address.c.pool_id)
    return [(a, b) for a, b in tx.execute(query)]


def walks(tx: Tx) -> dict[int, dict[int, int]]:
    """How many addresses of each sub were given rows: pool id -> ordinal -> count."""
    found: dict[int, dict[int, int]] = {}
    for pool_id, ordinal, walked in tx.execute(sa.select(sub.c.pool_id, sub.c.ordinal, sub.c.walked)):
        if not isinstance(walked, int):  # SQLite stores anything
            raise LedgerCorrupt(f"sub {ordinal} of pool #{pool_id} says {walked!r} of how far it was walked")
        found.setdefault(pool_id, {})[ordinal] = walked
    return found


def twice(tx: Tx, limit: int) -> list[tuple[str, str, str, str]]:
    """Addresses that two pools of one address space have given out: (address, space, pool, other pool)."""
    a, b = address.alias("a"), address.alias("b")
    p, q = pool.alias("p"), pool.alias("q")
    query = (
        sa.select(a.c.ip, p.c.address_space, p.c.name, q.c.name)
        .select_from(
            a.join(b, sa.and_(a.c.ip == b.c.ip, a.c.pool_id < b.c.pool_id))
            .join(p, p.c.id == a.c.pool_id)
            .join(q, sa.and_(q.c.id == b.c.pool_id, q.c.address_space == p.c.address_space))
        )
        .where(*(t.c.state == sa.literal_column("'allocated'") for t in (a, b)))
        .limit(limit)
    )
    return [(ip, space, name, other) for ip, space, name, other in tx.execute(query)]


def shared_streams(tx: Tx) -> Iterator[list[Event]]:
    """For each address that more than one pool had: all its events, pool by pool."""
    query = (
        sa.select(address.c.ip)
        .where(address.c.version > 0)
        .group_by(address.c.ip)
        .having(sa.func.count() > 1)
    )
    for ip in tx.execute(query).scalars().all():
        mine = _EVENTS.where(ledger.c.ip == ip, ledger.c.pool_id.in_(sa.select(pool.c.id)))
        yield [_event(row) for row in tx.execute(mine.order_by(ledger.c.pool_id, ledger.c.version))]


# Leaks ------------------------------------------------------------------------------------------


def superseded(tx: Tx, limit: int) -> list[tuple[Event, Event]]:
    """Addresses allocated to a pod that was seen since with another UID: the newest event of each, and what was seen."""
    mine, later = ledger.alias("mine"), ledger.alias("later")
    seen = (
        sa.select(sa.func.min(later.c.seq))
        .where(
            later.c.namespace == address.c.namespace,
            later.c.pod == address.c.pod,
            later.c.seq > mine.c.seq,
            later.c.state == State.ALLOCATED.value,
            later.c.pod_uid != address.c.pod_uid,
        )
        .correlate(address, mine)
        .scalar_subquery()
    )
    pairs = (
        sa.select(mine.c.seq.label("mine"), seen.label("seen"))
        .select_from(
            address.join(
                mine,
                sa.and_(
                    mine.c.pool_id == address.c.pool_id,
                    mine.c.ip == address.c.ip,
                    mine.c.version == address.c.version,
                ),
            )
        )
        .where(
            address.c.state == sa.literal_column("'allocated'"),
            address.c.namespace.is_not(None),
            address.c.pod_uid.is_not(None),
        )
        .subquery()
    )
    found = tx.execute(
        sa.select(pairs.c.mine, pairs.c.seen).where(pairs.c.seen.is_not(None)).limit(limit)
    ).all()
    seqs = {seq for pair in found for seq in pair}
    events = by_seq(tx, seqs)
    return [(events[a], events[b]) for a, b in found]


def overdue(tx: Tx, before: datetime, limit: int) -> list[tuple[str, str, str, datetime]]:
    """Cooling and held addresses whose time ended before a moment: (pool, address, state, until)."""
    query = (
        sa.select(pool.c.name, address.c.ip, address.c.state, address.c.until)
        .join(pool, pool.c.id == address.c.pool_id)
        .where(
            address.c.state.in_((State.COOLING.value, State.HELD.value)),
            address.c.until.is_not(None),
            address.c.until < before,
        )
        .order_by(address.c.until)
        .limit(limit)
    )
    return [(name, ip, state, until) for name, ip, state, until in tx.execute(query)]
