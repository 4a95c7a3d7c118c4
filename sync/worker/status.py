"""IPPools, outward: what the ledger has is their status."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sync import project, reconcile
from sync.reconcile import Refusal
from sync.worker.agenda import Agenda, Key
from sync.worker.ippools import IPPools
from sync.worker.notices import Notices
from sync.worker.pictures import Pictures
from sync.worker.sweeping import Sweeping

BEHIND_FOR = 10.0
"""Seconds that an object may show a later position than ours before we say that the ledger is behind: another leader may
just have been quicker."""


class Status:
    """Patches the status of an IPPool where it says something else than the ledger. ``leading``: asked before that."""

    def __init__(
        self,
        agenda: Agenda,
        pictures: Pictures,
        ippools: IPPools,
        sweeping: Sweeping,
        notices: Notices,
        leading: Callable[[], bool],
    ) -> None:
        self._agenda, self._pictures, self._ippools, self._sweeping = agenda, pictures, ippools, sweeping
        self._notices, self._leading = notices, leading
        self._behind: dict[str, float] = {}
        """Since when an object shows a later position than ours."""

    def look(self, key: Key) -> None:
        """Raises KubeError."""
        seen, observed = self._ippools.get(key.pool), self._ippools.observed.get(key.pool)
        if seen is None or observed is None or not self._leading():
            return
        refusal = self._ippools.refusals.get(key.pool)
        with self._pictures.look(key.pool) as (picture, position):
            if seen.ledger_seq <= position:
                self._behind.pop(key.pool, None)
            elif refusal is None or refusal.reason != reconcile.LOST:
                refusal = self._is_behind(key, seen.ledger_seq, position)
                if refusal is None:
                    return
            wanted = project.status(
                picture,
                seen,
                observed=observed,
                refusal=refusal,
                suspended=self._sweeping.suspended(key.pool),
                position=position,
                now=datetime.now(UTC),
            )
            size = 0 if picture.truncated else picture.size
        change = project.patch(seen.status, wanted)
        if change is None:
            return
        # The version makes sure that what we compared with is what we change: no status is ever written over a
        # later one that somebody else wrote meanwhile.
        body = {"metadata": {"resourceVersion": seen.meta.version}, "status": change}
        self._agenda.patched(key.pool, size)
        if self._ippools.patch(key.pool, body, "/status") is not None:
            for notice in project.notices(seen.status, wanted):
                self._notices.write(seen, notice)

    def _is_behind(self, key: Key, shown: int, position: int) -> Refusal | None:
        """None: not for long yet."""
        now = time.monotonic()
        if now - self._behind.setdefault(key.pool, now) < BEHIND_FOR:
            self._agenda.add(key, 1.0)
            return None
        return Refusal(
            project.BEHIND,
            f"this object shows position {shown}, the ledger ends at {position}: was the database restored "
            "from an older copy? Run `ipam-ledger restore --from-cluster`",
        )
