"""Leadership by a Lease: one sync worker works, the others wait.

Leadership saves work; it is not what keeps the ledger right. Every command to the book is fenced by a version, and
every status by a resourceVersion, so two leaders by accident do no harm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sync.errors import Conflict, KubeError, NotFound
from sync.kube import LEASES, Api, now_micro

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Whose lease, and how long it lasts."""

    namespace: str = "ipam-ledger"
    """Where the Lease object lives: the worker's own namespace."""

    name: str = "ipam-ledger-sync"

    duration: float = 30.0
    """Seconds without a renewal after which others may take over."""

    renew: float = 10.0
    """Seconds between renewals: six requests a minute. The leader stops by itself when two in a row failed,
    well before another may start."""

    @property
    def leads(self) -> float:
        """Seconds for which a renewal makes a leader."""
        return self.duration * 0.75


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says."""

    holder: str
    transitions: int
    renewed: str

    @classmethod
    def from_raw(cls, raw: Any) -> Record:
        spec = raw.get("spec") or {}
        return cls(
            str(spec.get("holderIdentity") or ""),
            int(spec.get("leaseTransitions") or 0),
            str(spec.get("renewTime") or ""),
        )


def may_take(record: Record, me: str, unchanged_for: float, duration: float) -> bool:
    """Whether a lease may be taken: it is mine, nobody's, or has not been renewed for its duration.

    ``unchanged_for`` is measured by our own clock since we first saw this renewal: no two clocks are compared.
    """
    return record.holder in ("", me) or unchanged_for > duration


class Lease:
    """One candidate. ``step`` is one attempt; ``leading`` says how it went."""

    def __init__(
        self, api: Api, me: str, settings: LeaseSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.me = me
        self.settings = settings
        self._api, self._clock = api, clock
        self._path = LEASES.format(settings.namespace)
        self._object: dict[str, Any] | None = None
        self._seen: tuple[Record, float] | None = None
        self._until = 0.0

    @property
    def leading(self) -> bool:
        """Whether nobody else can be leading now. False in time, also when the API server is away."""
        return self._clock() < self._until

    @property
    def holder(self) -> str:
        """Who leads, as far as is known."""
        return self._seen[0].holder if self._seen else ""

    def step(self) -> bool:
        """Take or renew the lease if we may; whether we lead. Raises KubeError when nothing is known."""
        began = self._clock()
        try:
            if self._object is None:
                self._object = self._api.call("GET", f"{self._path}/{self.settings.name}", seconds=5)
            record = Record.from_raw(self._object)
            if self._seen is None or self._seen[0] != record:
                self._seen = (record, began)
            if not may_take(record, self.me, began - self._seen[1], self.settings.duration):
                self._object = None  # look anew next time
                return False
            mine = self._written(record, self._object)
            self._object = self._api.call("PUT", f"{self._path}/{self.settings.name}", mine, seconds=5)
        except NotFound:
            fresh = self._written(Record("", 0, ""), {"metadata": {"name": self.settings.name}})
            try:
                self._object = self._api.call("POST", self._path, fresh, seconds=5)
            except Conflict:
                self._object = None
                return False
        except Conflict:
            self._object = None  # somebody else wrote it: look before the next attempt
            self._until = 0.0
            return False
        except KubeError:
            self._object = None
            raise
        self._seen = (Record.from_raw(self._object), began)
        # Counted from before the request was sent: others count from after it was written. Two renewals may fail.
        self._until = began + self.settings.leads
        return True

    def release(self) -> None:
        """Let another lead at once."""
        if not self.leading or self._object is None:
            return
        self._until = 0.0
        spec = {**(self._object.get("spec") or {}), "holderIdentity": "", "renewTime": now_micro()}
        try:
            self._api.call(
                "PUT", f"{self._path}/{self.settings.name}", {**self._object, "spec": spec}, seconds=2
            )
        except KubeError as error:
            log.warning("the lease could not be released, another has to wait for it: %s", error)
        self._object = None

    def _written(self, record: Record, before: dict[str, Any]) -> dict[str, Any]:
        now = now_micro()
        taken = record.holder != self.me
        spec = dict(before.get("spec") or {})
        spec |= {
            "holderIdentity": self.me,
            "leaseDurationSeconds": int(self.settings.duration),
            "renewTime": now,
        }
        if taken:
            spec |= {"acquireTime": now, "leaseTransitions": record.transitions + 1}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": before["metadata"],
            "spec": spec,
        }


def keep(lease: Lease, stop: threading.Event, renewed: Callable[[], object]) -> None:
    """Renew while we lead, and tell ``renewed``; return when we do not any more, or are asked to stop."""
    pause = lease.settings.renew
    while not stop.wait(pause) and lease.leading:
        try:
            lease.step()
            renewed()
            pause = lease.settings.renew
        except KubeError as error:
            log.warning("the lease could not be renewed: %s", error)
            pause = lease.settings.renew / 5
