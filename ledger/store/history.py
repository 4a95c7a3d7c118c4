"""Reading the past: the newest event at a moment, streams, whole pools, differences. Questions only, nothing is written.

Each is measured on ten million events. Per address the index of its stream is walked back from the newest version; a
whole pool is ``max(version) GROUP BY`` joined back. ``max(seq) WHERE at <= T`` is never asked: it reads everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from ledger.errors import LedgerCorrupt
from ledger.events import Attachment, Cursor, Event, Kind, Owner, State
from ledger.schema import Instant, Ip, address, ledger, pool
from ledger.store import follow
from ledger.store.database import Tx
from ledger.store.rows import AddressRow, PoolRow, _address_row, _pool_row

PAGE = 5_000
"""Events fetched at a time."""

RECENT = 1 << 17
"""Events that are read to find out what most addresses of a pool were at a moment: two for each of a /16, in 0.1 s."""

_POOL_NAME = sa.func.coalesce(pool.c.name, "#" + sa.cast(ledger.c.pool_id, sa.Text)).label("pool_name")
_LEDGER_AND_POOL = ledger.outerjoin(pool, pool.c.id == ledger.c.pool_id)
_EVENTS = sa.select(ledger, _POOL_NAME).select_from(_LEDGER_AND_POOL)


_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}
_STATES: Mapping[str | None, State | None] = {None: None, **{state.value: state for state in State}}


def _event(row: Any) -> Event:
    """A row of the ledger's columns in their order, and the pool's name."""
    (
        seq, _, at, _, ip, version, kind, state, namespace, pod, uid, container_id, if_name, network, node, until, reason,
        actor, spec, pool_name,
    ) = row  # fmt: skip
    if not isinstance(version, int):  # SQLite stores anything
        raise LedgerCorrupt(f"event {seq}: its version is {version!r:.60}", seq=seq)
    try:
        return Event(
            seq, at, _KINDS[kind], pool_name, ip, version, _STATES[state], Owner(namespace, pod, uid),
            Attachment(container_id or "", if_name or "", network or ""), node, until, reason, actor, spec,
        )  # fmt: skip
    except KeyError as error:
        raise LedgerCorrupt(f"event {seq}: {error} is no kind or state of this ledger", seq=seq) from error


def _stream(tx: Tx, query: sa.Select[Any]) -> Iterator[Event]:
    return map(_event, rows_of(tx, query))


def rows_of(tx: Tx, query: sa.Select[Any]) -> Iterator[Any]:
    """Rows as they are read; whoever stops early leaves no cursor open."""
    with tx.execute(query.execution_options(yield_per=PAGE)) as found:
        yield from found


# One address ------------------------------------------------------------------------------------


def newest(tx: Tx, ip: str) -> list[Event]:
    """The newest event of the address in each pool, deleted ones too, by the pool's name."""
    return [event for event, _ in spans(tx, ip)]


def spans(tx: Tx, ip: str, at: datetime | None = None) -> list[tuple[Event, datetime | None]]:
    """The same at a moment (included) or now, each with the time of the event that came next, None if none did."""
    values = {"ip": ip} if at is None else {"ip": ip, "at": at}
    return [(_event(row[:-1]), row[-1]) for row in tx.execute(_spans(at is not None), values)]


@cache
def _spans(past: bool) -> sa.Select[Any]:
    """Built once: that takes longer than the answer."""
    ip, inner, after = sa.bindparam("ip", type_=Ip), ledger.alias(), ledger.alias()
    # By version and not by seq: the index of the streams then answers alone (PostgreSQL), however far back it is.
    query = sa.select(inner.c.version).where(inner.c.pool_id == pool.c.id, inner.c.ip == ip)
    if past:
        query = query.where(inner.c.at <= sa.bindparam("at", type_=Instant))
    version = query.order_by(inner.c.version.desc()).limit(1).correlate(pool).scalar_subquery()
    this = sa.and_(ledger.c.pool_id == pool.c.id, ledger.c.ip == ip, ledger.c.version == version)
    ended = sa.select(after.c.at).where(
        after.c.pool_id == pool.c.id, after.c.ip == ip, after.c.version == ledger.c.version + 1
    )
    return (
        sa.select(ledger, pool.c.name.label("pool_name"), ended.scalar_subquery().label("ended"))
        .select_from(pool.join(ledger, this))
        .order_by(pool.c.name)
    )


def following(tx: Tx, event: Event) -> Event | None:
    """The next event of the same address in the same pool."""
    row = tx.execute(
        _EVENTS.where(
            pool.c.name == event.pool, ledger.c.ip == event.ip, ledger.c.version == event.version + 1
        )
    ).first()
    return _event(row) if row else None


def preceding(tx: Tx, event: Event, state: State) -> Event | None:
    """The newest event before this one, of the same address in the same pool, that left it in ``state``."""
    row = tx.execute(
        _EVENTS.where(
            pool.c.name == event.pool,
            ledger.c.ip == event.ip,
            ledger.c.version < event.version,
            ledger.c.state == state.value,
        )
        .order_by(ledger.c.version.desc())
        .limit(1)
    ).first()
    return _event(row) if row else None


def live_row(tx: Tx, pool_id: int, ip: str) -> AddressRow | None:
    row = tx.execute(sa.select(address).where(address.c.pool_id == pool_id, address.c.ip == ip)).first()
    return _address_row(row) if row else None


def rows_of_owner(tx: Tx, owner: str) -> list[tuple[str, AddressRow]]:
    """The addresses that are allocated to an owner, with their pools' names."""
    allocated = address.c.state == sa.literal_column("'allocated'")
    found = tx.execute(
        sa.select(address, pool.c.name.label("pool_name"))
        .join(pool, pool.c.id == address.c.pool_id)
        .where(allocated, address.c.owner == owner)
        .order_by(pool.c.name, address.c.ip)
    )
    return [(row.pool_name, _address_row(row)) for row in found]


# Events -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: all that are not None must fit. ``since`` is included, ``until`` is not. ``limit``: the newest of them."""

    ip: str | None = None
    pool: str | None = None
    namespace: str | None = None
    pod: str | None = None
    node: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


def events(tx: Tx, wanted: Wanted) -> Iterator[Event]:
    """The events, oldest first (in order of their positions), fetched as they are read."""
    if wanted.limit is None:
        query = _EVENTS.where(*_conditions(wanted)).order_by(ledger.c.seq)
        return _few(tx, query) if wanted.namespace and wanted.pod else _stream(tx, query)
    if wanted.ip is not None:
        # Else the planner may walk the whole ledger back, hoping to meet the address soon.
        narrow = sa.select(ledger.c.seq).where(*_conditions(wanted)).cte("found").prefix_with("MATERIALIZED")
        chosen = sa.select(narrow.c.seq).order_by(narrow.c.seq.desc()).limit(wanted.limit)
    else:
        chosen = (
            sa.select(ledger.c.seq)
            .where(*_conditions(wanted))
            .order_by(ledger.c.seq.desc())
            .limit(wanted.limit)
        )
    return _stream(tx, _EVENTS.where(ledger.c.seq.in_(chosen)).order_by(ledger.c.seq))


def _few(tx: Tx, query: sa.Select[Any]) -> Iterator[Event]:
    """Events that are seldom more than a page: opening a cursor in the server takes longer than fetching them."""
    page = tx.execute(query.limit(PAGE)).all()
    yield from map(_event, page)
    if len(page) == PAGE:
        yield from _stream(tx, query.where(ledger.c.seq > page[-1].seq))


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    c = ledger.c
    found: list[sa.ColumnElement[bool]] = []
    pools = sa.select(pool.c.id)
    if wanted.ip is not None:
        # By pool and address, as the index of the streams has them.
        found += [c.ip == wanted.ip, c.pool_id.in_(pools)]
    for column, value in ((c.namespace, wanted.namespace), (c.pod, wanted.pod), (c.node, wanted.node)):
        if value is not None:
            found.append(column == value)
    if wanted.pool is not None:
        found.append(c.pool_id.in_(pools.where(pool.c.name == wanted.pool)))
    if wanted.since is not None:
        found.append(c.at >= wanted.since)
    if wanted.until is not None:
        found.append(c.at < wanted.until)
    return found


def by_seq(tx: Tx, seqs: Collection[int]) -> dict[int, Event]:
    """The events of these few positions that there are."""
    return {row.seq: _event(row) for row in tx.execute(_EVENTS.where(ledger.c.seq.in_(seqs)))}


def last(tx: Tx, count: int) -> tuple[list[Event], Cursor]:
    """The newest events, oldest first; and where to follow from. What follows may repeat some of them: compare positions."""
    found = [_event(row) for row in tx.execute(_EVENTS.order_by(ledger.c.seq.desc()).limit(count))]
    return found[::-1], follow.from_here(tx)


# A whole pool -----------------------------------------------------------------------------------


def pools(tx: Tx) -> list[PoolRow]:
    """All pools, deleted ones too, by name."""
    return [_pool_row(row) for row in tx.execute(sa.select(pool).order_by(pool.c.name))]


def pool_event(tx: Tx, pool_id: int, at: datetime | None = None) -> Event | None:
    """The pool's own newest event at a moment (included), or now."""
    query = _EVENTS.where(ledger.c.pool_id == pool_id, ledger.c.ip.is_(None))
    if at is not None:
        query = query.where(ledger.c.at <= at)
    row = tx.execute(query.order_by(ledger.c.version.desc()).limit(1)).first()
    return _event(row) if row else None


def specs(tx: Tx) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every spec that a pool ever had, deleted ones too, with the pool's name; the newest last."""
    query = sa.select(pool.c.name, ledger.c.spec).where(ledger.c.ip.is_(None), ledger.c.pool_id == pool.c.id)
    return (tuple(row) for row in tx.execute(query.order_by(ledger.c.seq)))


def pool_at(tx: Tx, pool_id: int, at: datetime, *, used_only: bool) -> list[Event]:
    """The newest event of each address of a pool at a moment. ``used_only``: without those that are free."""
    _by_index(tx)
    found = _newest(tx, pool_id, used_only=used_only, version=at)
    return list(_events_of(tx, pool_id, found, "version", used_only=used_only))


def changed(tx: Tx, pool_id: int, since: datetime, until: datetime) -> list[tuple[Event | None, Event]]:
    """The addresses of a pool that had events after ``since``, up to ``until``: their newest event at either moment."""
    _by_index(tx)
    both = _newest(tx, pool_id, old=since, new=until)
    moved = sa.select(both).where(both.c.new != sa.func.coalesce(both.c.old, 0)).cte("moved")
    old = {event.ip: event for event in _events_of(tx, pool_id, moved, "old")}
    return [(old.get(event.ip), event) for event in _events_of(tx, pool_id, moved, "new")]


def _by_index(tx: Tx) -> None:
    """Let PostgreSQL know that the index of the streams is quicker to read than the table, as it is on any disk of today."""
    if not tx.sqlite:
        tx.connection.exec_driver_sql("SET LOCAL random_page_cost = 1.1")


def _newest(tx: Tx, pool_id: int, *, used_only: bool = False, **moments: datetime) -> sa.Subquery:
    """Each address of a pool with its newest versions at some moments (null before its first event).

    ``used_only``: without those of which it is quickly seen that they were free.

    Most addresses of a busy pool had an event shortly before any moment: on PostgreSQL one pass over those finds them. The
    streams of the others are walked back from their ends by the index of the streams: they are short, or it is not far.
    """
    mine = sa.select(address.c.ip).where(address.c.pool_id == pool_id, address.c.version > 0).subquery("mine")
    source: sa.FromClause = mine
    columns: list[sa.ColumnElement[Any]] = [mine.c.ip]
    wanted: list[sa.ColumnElement[bool]] = []
    for name, at in moments.items():
        one = ledger.alias()
        walk = sa.select(one.c.version).where(one.c.pool_id == pool_id, one.c.ip == mine.c.ip, one.c.at <= at)
        version: sa.ColumnElement[Any] = (
            walk.order_by(one.c.version.desc()).limit(1).correlate(mine).scalar_subquery()
        )
        if not tx.sqlite:
            recent = _recent(tx, pool_id, at).cte(f"recent_{name}").prefix_with("MATERIALIZED")
            source = source.outerjoin(recent, recent.c.ip == mine.c.ip)
            version = sa.func.coalesce(recent.c.newest // 2, version)
            if used_only:
                wanted.append(sa.func.coalesce(recent.c.newest % 2, 1) == 1)
        columns.append(version.label(name))
    return sa.select(*columns).select_from(source).where(*wanted).subquery("newest")


def _recent(tx: Tx, pool_id: int, at: datetime) -> sa.Select[Any]:
    """The addresses of a pool that had events in the time of the last ``RECENT`` events up to a moment.

    ``newest``: twice the newest version there, and one more where that left the address used.
    """
    c = ledger.c
    since = _moment_of(tx, _position(tx, at) - RECENT)
    mine = (c.pool_id == pool_id, c.ip.is_not(None), c.at >= since, c.at <= at)
    used = sa.case((c.state == State.FREE.value, 0), else_=1)
    return sa.select(c.ip, sa.func.max(c.version * 2 + used).label("newest")).where(*mine).group_by(c.ip)


def _position(tx: Tx, at: datetime) -> int:
    """About the last position before a moment: times rise with positions, or nearly."""
    low, high = 0, follow.newest_seq(tx)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _moment_of(tx, middle) <= at else (low, middle - 1)
    return low


def _moment_of(tx: Tx, seq: int) -> datetime:
    """When the first event from this position on was."""
    query = sa.select(ledger.c.at).where(ledger.c.seq >= seq).order_by(ledger.c.seq).limit(1)
    at: datetime = tx.execute(query).scalar_one()
    return at


def _events_of(
    tx: Tx, pool_id: int, found: sa.FromClause, version: str, *, used_only: bool = False
) -> Iterator[Event]:
    """The events of some versions, each looked up by its key: left to themselves, both engines would rather read the whole
    ledger for a few."""
    one = ledger.alias("by_key")
    mine = (one.c.pool_id == pool_id, one.c.ip == found.c.ip, one.c.version == found.c[version])
    if tx.sqlite:
        each: Any = ledger
        seq = sa.select(one.c.seq).where(*mine).correlate(found).scalar_subquery()
        source: Any = found.join(ledger, ledger.c.seq == seq)
    else:
        each = sa.select(one).where(*mine).limit(1).lateral("each")
        source = found.join(each, sa.true())
    query = sa.select(each, pool.c.name.label("pool_name")).select_from(
        source.join(pool, pool.c.id == pool_id)
    )
    # At once: no cursor of the server is answered by several of its processes.
    return map(
        _event, tx.execute(query.where(each.c.state != State.FREE.value) if used_only else query).all()
    )


# Over time --------------------------------------------------------------------------------------


def states(tx: Tx, pool_id: int) -> Iterator[tuple[str, State]]:
    """The addresses of a pool that are not free."""
    query = sa.select(address.c.ip, address.c.state).where(
        address.c.pool_id == pool_id, address.c.state != sa.literal_column("'free'")
    )
    for ip, state in rows_of(tx, query):
        yield ip, State(state)


def first_of_pool(tx: Tx, pool_id: int) -> datetime | None:
    """When the pool was created first."""
    query = sa.select(ledger.c.at).where(ledger.c.pool_id == pool_id, ledger.c.ip.is_(None))
    at: datetime | None = tx.execute(query.order_by(ledger.c.version).limit(1)).scalar()
    return at


def moment_back(tx: Tx, events: int) -> datetime | None:
    """When about so many events ago was; None in an empty ledger."""
    newest = follow.newest_seq(tx)
    return _moment_of(tx, newest - events) if newest else None


def usage_changes(tx: Tx, pool_id: int, since: datetime, until: datetime, buckets: int) -> dict[int, int]:
    """By how much the number of addresses in use changed in each of ``buckets`` equal parts of ``(since, until]``."""
    prev = ledger.alias("prev")
    width = (until - since).total_seconds() / buckets
    if tx.sqlite:
        seconds = (
            sa.func.julianday(ledger.c.at) - sa.func.julianday(sa.literal(since, ledger.c.at.type))
        ) * 86_400
    else:
        seconds = sa.extract("epoch", ledger.c.at) - since.timestamp()
    bucket = sa.cast(sa.func.floor(seconds / width), sa.Integer)
    in_use = sa.case((ledger.c.state != State.FREE.value, 1), else_=0)
    was_in_use = sa.case((sa.func.coalesce(prev.c.state, State.FREE.value) != State.FREE.value, 1), else_=0)
    query = (
        sa.select(bucket.label("bucket"), sa.func.sum(in_use - was_in_use))
        .select_from(
            ledger.outerjoin(
                prev,
                sa.and_(
                    prev.c.pool_id == ledger.c.pool_id,
                    prev.c.ip == ledger.c.ip,
                    prev.c.version == ledger.c.version - 1,
                ),
            )
        )
        .where(
            ledger.c.pool_id == pool_id,
            ledger.c.ip.is_not(None),
            ledger.c.at > since,
            ledger.c.at <= until,
        )
        .group_by("bucket")
    )
    found: dict[int, int] = {}
    for number, change in tx.execute(query):
        place = min(max(int(number), 0), buckets - 1)
        found[place] = found.get(place, 0) + int(change)
    return found
