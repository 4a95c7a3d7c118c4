"""One term: its parts, put together, and its threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from ledger.book import Book
from ledger.errors import LedgerError, TryAgain
from ledger.words import counted
from sync.errors import Conflict, KubeError
from sync.health import Health
from sync.kube import IPPOOLS, PODS, STATEFULSETS, Api, Resource
from sync.objects import IPPool
from sync.sealing import Sealing
from sync.settings import SyncSettings
from sync.watch import Backoff, Mirror, Sink, Watch, forever, read_pod, read_pool, read_set
from sync.worker.agenda import Agenda, Key
from sync.worker.ippools import IPPools
from sync.worker.notices import Notices
from sync.worker.pictures import Pictures
from sync.worker.retention import Retention
from sync.worker.status import Status
from sync.worker.sweeping import Sweeping

log = logging.getLogger(__name__)

Cycle = Callable[[], str | None]
"""A finite piece of work; the sentence to log, if there is one."""


class Term:
    """The work of a leader. ``leading``: asked before anything is changed."""

    def __init__(
        self, api: Api, book: Book, settings: SyncSettings, health: Health, leading: Callable[[], bool]
    ) -> None:
        self._book, self._settings, self._health, self._leading = book, settings, health, leading
        pace = settings.pace

        def watch(resource: Resource, sink: Sink) -> Watch:
            told = partial(self._tell, f"watch {resource.name}")
            return Watch(api, resource, sink, seconds=pace.watch, told=told)

        self._agenda = agenda = Agenda(pace.status)
        pools = Mirror(read_pool, agenda.changed, IPPool.not_older)
        self.pictures = pictures = Pictures(book.database, agenda, pools)
        pods, sets = Mirror(read_pod), Mirror(read_set, pictures.set_changed)
        pods_watch = watch(PODS, pods)
        self._watches = watch(IPPOOLS, pools), pods_watch, watch(STATEFULSETS, sets)

        self._ippools = IPPools(api, book, agenda, pictures, pools, pace.sweep)
        self.sweeping = sweeping = Sweeping(api, book, settings.limits, agenda, pods, pods_watch, leading)
        notices = Notices(api, book.actor, pace.notice)
        status = Status(agenda, pictures, self._ippools, sweeping, notices, leading)
        retention = Retention(api, book, agenda, pictures, sets, leading)
        self._looks = {"pool": self._ippools.look, "status": status.look, "retain": retention.look}
        self._backoffs: dict[Key, Backoff] = {}
        self._failed: dict[Key, str] = {}
        """What is tried again, and why it did not go well."""
        self._sealing = Sealing(
            api,
            book.database,
            settings.seal,
            namespace=settings.lease.namespace,
            actor=book.actor,
            alive=lambda: health.well("seal"),
        )

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        pace, seal = self._settings.pace, self._settings.seal
        cycles: list[tuple[str, Cycle, float]] = [
            *((f"watch {watch.resource.name}", watch.cycle, 0.0) for watch in self._watches),
            ("follow", self.follow, pace.follow),
            ("queue", self.work, 0.0),
            ("sweep", self.sweeping.cycle, pace.sweep),
            ("due", self.due, pace.due),
        ]
        if seal.key is not None:
            # Looked at every minute at least: a part that is not heard of for long counts as stuck.
            cycles.append(("seal", lambda: self.seal(stop), min(seal.interval, 60.0)))
        threads = [
            threading.Thread(
                target=forever,
                args=(name, stop, self._leader_only(name, cycle)),
                kwargs={"every": every},
                name=name,
            )
            for name, cycle, every in cycles
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            while thread.is_alive():
                for watch in self._watches:
                    watch.interrupt()
                thread.join(0.1)
        self._health.forget()

    def _leader_only(self, name: str, cycle: Cycle) -> Cycle:
        def guarded() -> str | None:
            if not self._leading():
                time.sleep(0.2)
                return None
            try:
                sentence = cycle()
            except Exception as error:
                self._tell(name, str(error))
                raise
            self._tell(name, None)
            return sentence

        return guarded

    def _tell(self, name: str, why: str | None) -> None:
        if why is None:
            self._health.well(name)
        else:
            self._health.trouble(name, why)

    # cycles

    def follow(self) -> str | None:
        """Bring the pictures up to date."""
        sentence = self.pictures.follow()
        self._ippools.report_strangers()
        return sentence

    def work(self) -> None:
        """One key, if one is due."""
        key = self._agenda.take(0.25)
        if key is None:
            return
        if not self.pictures.started.is_set():
            self._agenda.add(key, 0.2)
            return
        try:
            self._looks[key.what](key)
        except Conflict:
            self._agenda.add(key, 0.05)
        except (KubeError, LedgerError) as error:
            pause = self._backoffs.setdefault(key, Backoff()).pause(getattr(error, "after", 0.0))
            log.warning("%s %s: %s; again in %.1f s", key.what, key.pool, error, pause)
            self._agenda.add(key, pause)
            self._failed[key] = f"{key.pool}: {error}"
            self._note(key.what)
            if isinstance(error, TryAgain) or not hasattr(error, "code"):
                raise
        else:
            self._backoffs.pop(key, None)
            if self._failed.pop(key, None):
                self._note(key.what)

    def _note(self, what: str) -> None:
        """A refusal is the trouble of one key: the queue goes on, and its own word would hide it at once."""
        self._health.note(what, next((why for key, why in self._failed.items() if key.what == what), None))

    def due(self) -> str | None:
        """Free what has cooled down, and what was held for a time that is over."""
        freed = self._book.sweep()
        return f"free again: {counted(len(freed), 'address')}" if freed else None

    def seal(self, stop: threading.Event) -> str | None:
        """Fold and sign what is new, if it is time."""
        return self._sealing.cycle(lambda: self._leading() and not stop.is_set())
