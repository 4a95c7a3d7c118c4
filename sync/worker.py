"""One term of leadership: threads that watch, follow, sweep, and one that works off a queue of keys.

Whatever goes wrong, a thread logs it and goes on with back-off; whatever is missed is seen again, for every decision
starts from what is, not from what was heard. Nothing here is needed for an ADD or a DEL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.book import Book
from ledger.errors import LedgerError, PoolInUse, TryAgain, UnknownPool
from ledger.events import Event, Kind, State
from ledger.follow import Follower, holders
from ledger.store import Database
from sync import project, reconcile
from sync.errors import Conflict, KubeError, NotFound
from sync.health import Health
from sync.kube import (
    EVENTS,
    IPPOOLS,
    MERGE,
    PODS,
    STATEFULSETS,
    Api,
    ApiEvidence,
    now_micro,
    pool_path,
    statefulset_path,
)
from sync.objects import API_VERSION, FINALIZER, KIND, IPPool, StatefulSet, set_of
from sync.project import PoolPicture
from sync.queue import KeyedQueue
from sync.reconcile import Refusal
from sync.sealing import Sealing
from sync.settings import SyncSettings
from sync.watch import Backoff, Mirror, Watch, forever, packed, read_pod, read_pool, read_set

log = logging.getLogger(__name__)

LONGEST = 5.0
"""Seconds of the longest pause of a thread that meets errors. There is one leader in a cluster: it may be quick to come back."""

BEHIND_FOR = 10.0
"""Seconds that an object may show a later position than ours before we say that the ledger is behind: another leader may
just have been quicker."""


@dataclass(frozen=True, slots=True)
class Key:
    """Something to look at: ``what`` is "pool", "status" or "retain"."""

    what: str
    pool: str
    ip: str = ""


class Term:
    """The work of a leader. ``leading``: asked before anything is changed."""

    def __init__(
        self,
        api: Api,
        database: Database,
        book: Book,
        settings: SyncSettings,
        health: Health,
        leading: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.api, self.database, self.book, self.settings, self.health = api, database, book, settings, health
        self._leading, self._clock = leading, clock
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.pools: Mirror[IPPool] = Mirror(read_pool, self._pool_changed, _not_older)
        self.pods: Mirror[bytes] = Mirror(read_pod)
        self.sets: Mirror[StatefulSet] = Mirror(read_set, self._set_changed)
        self.watches = [
            Watch(
                api, resource, sink, seconds=settings.pace.watch, told=self._tells(f"watch {resource.name}")
            )
            for resource, sink in ((IPPOOLS, self.pools), (PODS, self.pods), (STATEFULSETS, self.sets))
        ]
        self._follower = Follower(database)
        self._sealing = Sealing(
            api,
            database,
            settings.seal,
            namespace=settings.lease.namespace,
            actor=book.actor,
            alive=lambda: health.well("seal"),
            clock=clock,
        )
        self._started = threading.Event()
        self._lock = threading.Lock()
        self._pictures: dict[str, PoolPicture] = {}
        self._position = 0
        self._loose: dict[tuple[str, str], Event] = {}
        """The newest event of each address that nobody has allocated and a StatefulSet may want back."""
        self._loose_of: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._observed: dict[str, int] = {}
        self._refusals: dict[str, Refusal] = {}
        self._patched: dict[str, float] = {}
        self._behind: dict[str, float] = {}
        self._noticed: dict[tuple[str, str], float] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._memory = reconcile.Memory()
        self._suspended: str | None = None
        self._suspended_pools: frozenset[str] = frozenset()
        self._strangers: list[str] = []

    # life

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        pace = self.settings.pace
        cycles: list[tuple[str, Callable[[], str | None], float]] = [
            *((f"watch {watch.resource.name}", watch.cycle, 0.0) for watch in self.watches),
            ("follow", self.follow, pace.follow),
            ("queue", self.work, 0.0),
            ("sweep", self.sweep, pace.sweep),
            ("due", self.due, pace.due),
        ]
        seal = self.settings.seal
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
                for watch in self.watches:
                    watch.interrupt()
                thread.join(0.1)
        self.health.forget()

    def _leader_only(self, name: str, cycle: Callable[[], str | None]) -> Callable[[], str | None]:
        def guarded() -> str | None:
            if not self._leading():
                time.sleep(0.2)
                return None
            try:
                sentence = cycle()
            except Exception as error:
                self.health.trouble(name, str(error))
                raise
            self.health.well(name)
            return sentence

        return guarded

    def _tells(self, name: str) -> Callable[[str | None], None]:
        def told(why: str | None) -> None:
            if why is None:
                self.health.well(name)
            else:
                self.health.trouble(name, why)

        return told

    # the ledger, followed into pictures

    def follow(self) -> str | None:
        """Fold what came since; the first time, everything there is."""
        if not self._started.is_set():
            return self._start_following()
        try:
            events = self._follower.step()
        except TryAgain:
            raise
        except LedgerError:
            self._started.clear()  # we do not know what was missed: from the beginning
            raise
        touched: set[str] = set()
        with self._lock:
            for event in events:
                picture = self._pictures.get(event.pool) or self._pictures.setdefault(
                    event.pool, PoolPicture(event.pool)
                )
                if picture.fold(event):
                    touched.add(event.pool)
                    self._note_loose(event, picture)
                    if event.kind.of_pool:
                        self.queue.add(Key("pool", event.pool))
            self._position = self._follower.position
        for name in touched:
            self._ask_status(name)
            seen = self.pools.get(name)
            if seen is not None and seen.meta.deleting:
                self.queue.add(Key("pool", name), 1.0)
        self._report_strangers()
        return None

    def _start_following(self) -> str:
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
        self._started.set()
        self.follow()
        for name in self.pools.keys():  # noqa: SIM118 (a Mirror is no dict)
            self.queue.add(Key("pool", name))
        return f"started at position {self._position} with {len(pictures)} pools and {count} addresses"

    def _note_loose(self, event: Event, picture: PoolPicture) -> None:
        if event.ip is None:
            return
        at = (event.pool, event.ip)
        if was := self._loose.pop(at, None):
            self._loose_of[f"{was.owner.namespace}/{_set_name(was)}"].discard(at)
        retain_for = picture.spec.retain_for if picture.spec else ()
        wanted = reconcile.wants_set(event, retain_for)
        if wanted is None:
            return
        self._loose[at] = event
        self._loose_of["/".join(wanted)].add(at)
        self.queue.add(Key("retain", *at))

    # the queue

    def work(self) -> None:
        """One key, if one is due."""
        key = self.queue.take(0.25)
        if key is None or not self._started.is_set():
            if key is not None:
                self.queue.add(key, 0.2)
            return
        work = {"pool": self._pool, "status": self._status, "retain": self._retain}[key.what]
        try:
            work(key)
        except Conflict:
            self.queue.add(key, 0.05)
        except (KubeError, LedgerError) as error:
            pause = self._backoffs.setdefault(key, Backoff()).pause(getattr(error, "after", 0.0))
            log.warning("%s %s: %s; again in %.1f s", key.what, key.pool, error, pause)
            self.queue.add(key, pause)
            if isinstance(error, TryAgain) or not hasattr(error, "code"):
                raise
        else:
            self._backoffs.pop(key, None)

    # inward: pools

    def _pool_changed(self, name: str) -> None:
        self.queue.add(Key("pool", name))
        self._ask_status(name)

    def _pool(self, key: Key) -> None:
        seen = self.pools.get(key.pool)
        if seen is None:
            self._observed.pop(key.pool, None)
            self._refusals.pop(key.pool, None)
            return
        with self._lock:
            picture = self._pictures.get(key.pool)
            in_ledger = picture.spec if picture else None
        refusal: Refusal | None = None
        for command in reconcile.pool_commands(seen, in_ledger):
            if isinstance(command, reconcile.AddFinalizer):
                seen = self._finalizers(seen, (*seen.meta.finalizers, FINALIZER))
            elif isinstance(command, reconcile.RemoveFinalizer):
                self._finalizers(seen, tuple(each for each in seen.meta.finalizers if each != FINALIZER))
                return
            elif isinstance(command, Refusal):
                refusal = command
            else:
                refusal = self._tell_book(command, seen)
            if refusal is not None:
                break
        if refusal is None:
            self._refusals.pop(key.pool, None)
        else:
            self._refusals[key.pool] = refusal
        self._observed[key.pool] = seen.meta.generation
        self._ask_status(key.pool)

    def _tell_book(self, command: reconcile.Apply | reconcile.Delete, seen: IPPool) -> Refusal | None:
        try:
            if isinstance(command, reconcile.Apply):
                change = self.book.apply_pool(
                    command.spec, reason=f"IPPool generation {seen.meta.generation}"
                )
                if change.event:
                    log.info("pool %s %s at position %d", command.spec.name, change.action, change.event.seq)
            else:
                event = self.book.delete_pool(seen.meta.name, reason="IPPool deleted")
                log.info("pool %s deleted at position %d", event.pool, event.seq)
        except TryAgain:
            raise
        except UnknownPool:
            return None
        except PoolInUse as error:
            if isinstance(command, reconcile.Delete):
                return Refusal("AddressesInUse", f"deletion waits: {error}", seen.meta.generation)
            return reconcile.refusal_of(error, seen.meta.generation)
        except LedgerError as error:
            return reconcile.refusal_of(error, seen.meta.generation)
        return None

    def _finalizers(self, seen: IPPool, wanted: tuple[str, ...]) -> IPPool:
        body = {"metadata": {"resourceVersion": seen.meta.version, "finalizers": list(wanted)}}
        raw = self._patch_pool(seen.meta.name, body)
        return IPPool.from_raw(raw) if raw else seen

    def _patch_pool(self, name: str, body: dict[str, Any], sub: str = "") -> Any:
        """Patch an IPPool, or its status; what we know is then what the answer says. On a conflict it is read anew."""
        try:
            raw = self.api.call("PATCH", pool_path(name) + sub, body, kind=MERGE)
        except NotFound:
            return None
        except Conflict:
            try:
                self.pools.put(self.api.call("GET", pool_path(name)))
            except NotFound:
                return None
            raise
        self.pools.put(raw, tell=False)
        return raw

    def _report_strangers(self) -> None:
        if not self.watches[0].synced.is_set():
            return
        with self._lock:
            known = [name for name, picture in self._pictures.items() if picture.spec is not None]
        strangers = reconcile.only_in_ledger(known, set(self.pools.keys()))
        if strangers != self._strangers:
            self._strangers = strangers
            if strangers:
                log.warning("only in the ledger, without an IPPool, and left alone: %s", ", ".join(strangers))

    # outward: status

    def _ask_status(self, name: str) -> None:
        since = self._clock() - self._patched.get(name, float("-inf"))
        self.queue.add(Key("status", name), max(0.0, self.settings.pace.status - since))

    def _status(self, key: Key) -> None:
        seen = self.pools.get(key.pool)
        if seen is None or key.pool not in self._observed or not self._leading():
            return
        with self._lock:
            refusal = self._refusals.get(key.pool)
            position = self._position
            if seen.ledger_seq <= position:
                self._behind.pop(key.pool, None)
            elif refusal is None or refusal.reason != reconcile.LOST:
                refusal = self._is_behind(key, seen, position)
                if refusal is None:
                    return
            wanted = project.status(
                self._pictures.get(key.pool) or PoolPicture(key.pool),
                seen,
                observed=self._observed[key.pool],
                refusal=refusal,
                suspended=self._suspended if key.pool in self._suspended_pools else None,
                position=position,
                now=datetime.now(UTC),
            )
        change = project.patch(seen.status, wanted)
        if change is None:
            return
        # The version makes sure that what we compared with is what we change: no status is ever written over a
        # later one that somebody else wrote meanwhile.
        body = {"metadata": {"resourceVersion": seen.meta.version}, "status": change}
        self._patched[key.pool] = self._clock()
        if self._patch_pool(key.pool, body, "/status") is not None:
            for notice in project.notices(seen.status, wanted):
                self._notify(seen, notice)

    def _is_behind(self, key: Key, seen: IPPool, position: int) -> Refusal | None:
        first = self._behind.setdefault(key.pool, self._clock())
        if self._clock() - first < BEHIND_FOR:
            self.queue.add(key, 1.0)
            return None
        return Refusal(
            project.BEHIND,
            f"this object shows position {seen.ledger_seq}, the ledger ends at {position}: was the database restored "
            "from an older copy? Run `ipam-ledger restore --from-cluster`",
        )

    def _notify(self, pool: IPPool, notice: project.Notice) -> None:
        key = (pool.meta.name, notice.reason)
        if self._clock() - self._noticed.get(key, float("-inf")) < self.settings.pace.notice:
            return
        self._noticed[key] = self._clock()
        now = now_micro()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{pool.meta.name[:200]}.", "namespace": "default"},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.meta.name,
                "uid": pool.meta.uid,
                "resourceVersion": pool.meta.version,
            },
            "reason": notice.reason,
            "message": notice.message[:1024],
            "type": "Warning" if notice.warning else "Normal",
            "firstTimestamp": now[:19] + "Z",
            "lastTimestamp": now[:19] + "Z",
            "eventTime": now,
            "count": 1,
            "action": "Report",
            "reportingComponent": "ipam-ledger",
            "reportingInstance": self.book.actor[:128],
        }
        try:
            # In "default", where the events of cluster-scoped objects go.
            self.api.call("POST", EVENTS.format("default"), body)
        except KubeError as error:
            log.warning("event %s of pool %s was not written: %s", notice.reason, pool.meta.name, error)

    # inward: retention

    def _set_changed(self, key: str) -> None:
        with self._lock:
            for at in self._loose_of.get(key, ()):
                self.queue.add(Key("retain", *at))

    def _retain(self, key: Key) -> None:
        with self._lock:
            event = self._loose.get((key.pool, key.ip))
            picture = self._pictures.get(key.pool)
            retain_for = picture.spec.retain_for if picture and picture.spec else ()
        if event is None or event.owner.namespace is None or not self.watches[2].synced.is_set():
            if event is not None:
                self.queue.add(key, 0.5)
            return
        wanted = reconcile.wants_set(event, retain_for)
        if wanted is None:
            return
        seen = self.sets.get("/".join(wanted))
        if reconcile.retention(event, retain_for, seen) is None:
            return
        if event.state is not State.HELD and self._holds_elsewhere(event):
            return
        # The picture says that something is to be done; whether it is so, the API server says now.
        found: StatefulSet | None
        try:
            found = StatefulSet.from_raw(self.api.call("GET", statefulset_path(*wanted)))
        except NotFound:
            found = None
        decided = reconcile.retention(event, retain_for, found)
        if decided is None or not self._leading():
            return
        kind = Kind.HELD if decided[0] == "hold" else Kind.FREED
        if self.book.transfer(key.pool, key.ip, event.version, kind, reason=decided[1]):
            log.info("%s of pool %s: %s, %s", key.ip, key.pool, kind.value, decided[1])

    def _holds_elsewhere(self, event: Event) -> bool:
        with self._lock:
            picture = self._pictures.get(event.pool)
            return picture is not None and picture.holds_elsewhere(event)

    # inward: pods

    def sweep(self) -> str | None:
        """Look for owners that have ended without a DEL; ask about those missed for long; take back on evidence."""
        watch = self.watches[1]
        if not watch.synced.is_set():
            return None
        if watch.trouble is not None:
            return f"not while the list of pods may be stale ({watch.trouble})"
        plan = reconcile.plan_sweep(
            holders(self.database, State.ALLOCATED),
            self.pods.snapshot(),
            packed,
            self._memory,
            self._clock(),
            self.settings.limits,
        )
        self._memory = plan.memory
        news = plan.suspended != self._suspended
        self._suspend(plan)
        evidence = ApiEvidence(self.api, patient=True)
        taken = []
        for holder in plan.ask:
            assert holder.ip is not None
            why = evidence.ended(holder)
            if why is None or not self._leading():
                continue
            if self.book.transfer(holder.pool, holder.ip, holder.version, Kind.RECLAIMED, reason=why):
                taken.append(f"{holder.ip} of {holder.owner.namespace}/{holder.owner.pod} ({why})")
        if news:
            return f"suspended: {plan.suspended}" if plan.suspended else "no longer suspended"
        return f"reclaimed {', '.join(taken)}" if taken else None

    def _suspend(self, plan: reconcile.Sweep) -> None:
        before = self._suspended_pools
        self._suspended = plan.suspended
        self._suspended_pools = (
            frozenset(pool for pool, _, _ in plan.memory.since) if plan.suspended else frozenset()
        )
        for name in before | self._suspended_pools:
            self._ask_status(name)

    def due(self) -> str | None:
        """Free what has cooled down, and what was held for a time that is over."""
        freed = self.book.sweep()
        return f"{len(freed)} addresses are free again" if freed else None

    # the seal

    def seal(self, stop: threading.Event) -> str | None:
        """Fold and sign what is new, if it is time."""
        return self._sealing.cycle(lambda: self._leading() and not stop.is_set())


def _set_name(event: Event) -> str:
    wanted = reconcile.wants_set(event, ("StatefulSet",))
    return wanted[1] if wanted else ""


def _not_older(new: IPPool, old: IPPool) -> bool:
    """Whether what comes is at least as new: an answer to our own patch may be ahead of the watch."""
    try:
        return new.meta.uid != old.meta.uid or int(new.meta.version) >= int(old.meta.version)
    except ValueError:
        return True  # versions are opaque, if they are no numbers
