"""The ledger, followed into pictures."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from ledger.errors import LedgerError, TryAgain
from ledger.events import Event, Kind, State
from ledger.follow import Follower
from ledger.store import Database
from ledger.words import counted
from sync import reconcile
from sync.objects import IPPool, set_of
from sync.picture import PoolPicture
from sync.watch import Mirror
from sync.worker.agenda import Agenda


class Figures(NamedTuple):
    """How many addresses a pool has, and how many of them are in which state."""

    name: str
    capacity: int
    states: Mapping[State, int]


class Pictures:
    """Every pool as the ledger has it. One thread follows, any may look; each change asks for what it makes necessary.

    ``started`` is set while the pictures are whole.
    """

    def __init__(self, database: Database, agenda: Agenda, ippools: Mirror[IPPool]) -> None:
        self.started = threading.Event()
        self._agenda, self._ippools = agenda, ippools
        self._follower = Follower(database)
        self._lock = threading.Lock()
        self._pictures: dict[str, PoolPicture] = {}
        self._position = 0
        self._counts: Counter[tuple[str, Kind]] = Counter()
        self._loose: dict[tuple[str, str], tuple[Event, str]] = {}
        """The newest event of each address that nobody has allocated and a StatefulSet may want back, and the set's key."""
        self._loose_of: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)

    # follow

    def follow(self) -> str | None:
        """Fold what came since; the first time, everything there is."""
        if not self.started.is_set():
            return self._start()
        try:
            events = self._follower.step()
        except TryAgain:
            raise
        except LedgerError:
            self.started.clear()  # we do not know what was missed: from the beginning
            raise
        touched: set[str] = set()
        with self._lock:
            for event in events:
                picture = self._pictures.get(event.pool) or self._pictures.setdefault(
                    event.pool, PoolPicture(event.pool)
                )
                if picture.fold(event):
                    self._counts[event.pool, event.kind] += 1
                    touched.add(event.pool)
                    self._note_loose(event, picture)
                    if event.kind.of_pool:
                        self._agenda.pool(event.pool)
                        for pool, ip in self._loose:
                            if pool == event.pool:
                                self._agenda.retain(pool, ip)  # whom it retains for may have changed
            self._position = self._follower.position
        for name in touched:
            self._agenda.status(name)
            seen = self._ippools.get(name)
            if seen is not None and seen.meta.deleting:
                self._agenda.pool(name, 1.0)
        return None

    def _start(self) -> str:
        pictures: dict[str, PoolPicture] = {}
        held: list[Event] = []
        last: dict[tuple[str, str, str], Event] = {}
        count = 0
        for event in self._follower.start():
            pictures.setdefault(event.pool, PoolPicture(event.pool)).fold(event)
            if event.ip is None:
                continue
            count += 1
            if event.state is State.HELD:
                held.append(event)
            elif event.state is not State.ALLOCATED and event.owner.is_pod and set_of(str(event.owner.pod)):
                # Of several addresses that one pod had, only the last may be kept for it.
                had = (event.pool, f"{event.owner.namespace}/{event.owner.pod}", event.attachment.if_name)
                if had not in last or last[had].at < event.at:
                    last[had] = event
        with self._lock:
            self._pictures = pictures
            self._loose.clear()
            self._loose_of.clear()
            for event in (*held, *last.values()):
                self._note_loose(event, pictures[event.pool])
        self.started.set()
        self.follow()
        for name in self._ippools.keys():  # noqa: SIM118 (a Mirror is no dict)
            self._agenda.pool(name)
        return f"started at position {self._position} with {counted(len(pictures), 'pool')} and {counted(count, 'address')}"

    def _note_loose(self, event: Event, picture: PoolPicture) -> None:
        if event.ip is None:
            return
        at = (event.pool, event.ip)
        if was := self._loose.pop(at, None):
            self._loose_of[was[1]].discard(at)
        wanted = reconcile.wants_set(event, picture.retain_for)
        if wanted is None:
            return
        key = "/".join(wanted)
        self._loose[at] = event, key
        self._loose_of[key].add(at)
        self._agenda.retain(*at)

    # look

    @contextmanager
    def look(self, pool: str) -> Iterator[tuple[PoolPicture, int]]:
        """A pool's picture, an empty one if the ledger never had it, and the position up to which it is complete. Both stay
        so inside the ``with``."""
        with self._lock:
            yield self._pictures.get(pool) or PoolPicture(pool), self._position

    def figures(self) -> tuple[list[Figures], dict[tuple[str, Kind], int], int]:
        """Each pool's, how many events came since ``started`` by pool and kind, and the position that they show."""
        with self._lock:
            found = [
                Figures(name, picture.capacity, {state: picture.count(state) for state in State})
                for name, picture in self._pictures.items()
                if picture.spec is not None
            ]
            return found, dict(self._counts), self._position

    def pools(self) -> list[str]:
        """The pools that the ledger has."""
        with self._lock:
            return [name for name, picture in self._pictures.items() if picture.spec is not None]

    def loose(self, pool: str, ip: str) -> tuple[Event, Collection[str]] | None:
        """The newest event of an address that a StatefulSet may want back, and whom its pool retains for; None if none may."""
        with self._lock:
            found = self._loose.get((pool, ip))
            return (found[0], self._pictures[pool].retain_for) if found else None

    def set_changed(self, key: str) -> None:
        """A StatefulSet has, by "namespace/name"."""
        with self._lock:
            for at in self._loose_of.get(key, ()):
                self._agenda.retain(*at)
