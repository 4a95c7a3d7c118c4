"""Histories with times of their own, written as a few lines and put into the ledger as they stand.

::

    10:00           p PoolCreated 10.8.0.0/29
    10:01           p 10.8.0.1 Allocated default/web-0 uid=u1
    10:05:00.000001 p 10.8.0.1 Released until=10:06

Time (of 2024-11-24, UTC), pool, address, kind; then the owner, ``ns/pod`` or a name, where the kind names one (another kind
keeps the owner that the address has), and keys: uid, c (container), if, net, node, until, space (of a pool), reason.
The state is the kind's own; a Released or Reclaimed address with an ``until`` is cooling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from ledger import pools
from ledger.book import Book
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.replay import GIVES
from ledger.store import Database, Tx, rows

DAY = datetime(2024, 11, 24, tzinfo=UTC)
STATES: Mapping[Kind, State] = {
    Kind.ALLOCATED: State.ALLOCATED,
    Kind.ADOPTED: State.ALLOCATED,
    Kind.RELEASED: State.FREE,
    Kind.RECLAIMED: State.FREE,
    Kind.HELD: State.HELD,
    Kind.FREED: State.FREE,
}


def moment(text: str) -> datetime:
    """``10:05`` or ``10:05:00.000001`` of the day of all chronicles."""
    return datetime.fromisoformat(f"{DAY:%Y-%m-%d}T{text}+00:00")


@contextmanager
def clock(at: datetime) -> Iterator[None]:
    """The database's clock stands still."""
    with mock.patch.object(Tx, "clock", lambda _: at):
        yield


class Chronicle:
    """Writes histories into one database, and remembers what it wrote: ``events`` and, by (pool, address), ``streams``."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.book = Book(database, actor="chronicler")
        self.events: list[Event] = []
        self.streams: dict[tuple[str, str | None], list[Event]] = {}
        self._ids: dict[str, int] = {}

    def write(self, text: str) -> list[Event]:
        """Every line an event, each its own transaction."""
        return [self._line(line) for line in filter(None, map(str.strip, text.splitlines()))]

    def pool(self, at: datetime, name: str, *ranges: str, **spec: Any) -> Event:
        """Create or update a pool of these ranges, then."""
        entries = [{"range": each} for each in ranges]
        with clock(at):
            change = self.book.apply_pool(pools.from_spec(name, {"ipPoolSubs": entries, **spec}))
        assert change.event is not None, "the chronicle repeats itself"
        with self.database.read() as tx:
            found = rows.find_pool(tx, name)
        assert found is not None
        self._ids[name] = found.id
        return self._remember(change.event)

    def drop(self, at: datetime, name: str) -> Event:
        with clock(at):
            return self._remember(self.book.delete_pool(name))

    def append(self, *events: Event) -> list[Event]:
        """Write events of addresses, all in one transaction; their version and seq are set here."""
        out = []
        with self.database.begin() as tx:
            for event in events:
                version = len(self.streams.get((event.pool, event.ip), ())) + 1
                written = rows.append(tx, self._ids[event.pool], replace(event, version=version))
                out.append(self._remember(written))
        return out

    def newest(self, pool: str, ip: str) -> Event | None:
        stream = self.streams.get((pool, ip))
        return stream[-1] if stream else None

    def _remember(self, event: Event) -> Event:
        self.events.append(event)
        self.streams.setdefault((event.pool, event.ip), []).append(event)
        return event

    def _line(self, line: str) -> Event:
        at, pool, what, *rest = line.split()
        keys = dict(word.split("=", 1) for word in rest if "=" in word)
        plain = [word for word in rest if "=" not in word]
        if what.startswith("Pool"):
            if what == Kind.POOL_DELETED:
                return self.drop(moment(at), pool)
            more = {"addressSpace": keys["space"]} if "space" in keys else {}
            return self.pool(moment(at), pool, *plain, **more)
        kind = Kind(plain[0])
        before = self.newest(pool, what)
        until = moment(keys["until"]) if "until" in keys else None
        cools = until is not None and kind in (Kind.RELEASED, Kind.RECLAIMED)
        event = Event(
            0, moment(at), kind, pool, what, 0, State.COOLING if cools else STATES[kind],
            *holder(plain[1] if kind in GIVES else None, before, keys), until, keys.get("reason", "a chronicle says so"),
            "chronicler",
        )  # fmt: skip
        return self.append(event)[0]


_containers = itertools.count(1)


def holder(
    name: str | None, before: Event | None, keys: Mapping[str, str]
) -> tuple[Owner, Attachment, str | None]:
    """Owner, attachment and node of an event: those of a new owner, or of the event before it."""
    if name is None:
        assert before is not None, "nobody had this address yet"
        return before.owner, before.attachment, before.node
    namespace, slash, pod = name.partition("/")
    owner = Owner(namespace, pod, keys.get("uid")) if slash else Owner(None, name)
    container = keys.get("c", f"c{next(_containers)}" if slash else name)
    interface = keys.get("if", "eth0" if slash else "")
    return (
        owner,
        Attachment(container, interface, keys.get("net", "podnet" if slash else "")),
        keys.get("node"),
    )
