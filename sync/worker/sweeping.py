"""Pods are evidence: the addresses of those that have ended without a DEL are taken back."""

from __future__ import annotations

import time
from collections.abc import Callable

from ledger.book import Book
from ledger.events import Kind, State
from ledger.follow import holders
from sync import reconcile
from sync.kube import Api, ApiEvidence
from sync.reconcile import SweepLimits
from sync.watch import Mirror, Watch, packed
from sync.worker.agenda import Agenda


class Sweeping:
    """The rounds of one term. ``leading``: asked before anything is taken back."""

    def __init__(
        self,
        api: Api,
        book: Book,
        limits: SweepLimits,
        agenda: Agenda,
        pods: Mirror[bytes],
        watch: Watch,
        leading: Callable[[], bool],
    ) -> None:
        """``watch`` keeps ``pods``."""
        self._api, self._book, self._limits, self._agenda = api, book, limits, agenda
        self._pods, self._watch, self._leading = pods, watch, leading
        self._memory = reconcile.Memory()
        self._why: str | None = None
        self._suspended: frozenset[str] = frozenset()

    def suspended(self, pool: str) -> str | None:
        """Why no address of a pool is taken back now; None if they are."""
        return self._why if pool in self._suspended else None

    def cycle(self) -> str | None:
        """Look for owners that have ended without a DEL; ask about those missed for long; take back on evidence."""
        if not self._pods.listed.is_set():
            return None
        if self._watch.trouble is not None:
            return f"not while the list of pods may be stale ({self._watch.trouble})"
        plan = reconcile.plan_sweep(
            holders(self._book.database, State.ALLOCATED),
            self._pods.snapshot(),
            packed,
            self._memory,
            time.monotonic(),
            self._limits,
        )
        self._memory = plan.memory
        news = plan.suspended != self._why
        self._suspend(plan)
        evidence = ApiEvidence(self._api, patient=True)
        taken = []
        for holder in plan.ask:
            assert holder.ip is not None
            why = evidence.ended(holder)
            if why is None or not self._leading():
                continue
            if self._book.transfer(holder.pool, holder.ip, holder.version, Kind.RECLAIMED, reason=why):
                taken.append(f"{holder.ip} of {holder.owner.namespace}/{holder.owner.pod} ({why})")
        if news:
            return f"suspended: {plan.suspended}" if plan.suspended else "no longer suspended"
        return f"reclaimed {', '.join(taken)}" if taken else None

    def _suspend(self, plan: reconcile.Sweep) -> None:
        before, self._why = self._suspended, plan.suspended
        self._suspended = (
            frozenset(pool for pool, _, _ in plan.memory.since) if plan.suspended else frozenset()
        )
        for name in before | self._suspended:
            self._agenda.status(name)
