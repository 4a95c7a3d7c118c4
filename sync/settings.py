"""Settings of the sync worker by theme, read from the environment once, at the entry point."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ledger.errors import InvalidInput
from sync.lease import LeaseSettings
from sync.reconcile import SweepLimits
from sync.sealing import SealSettings

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the worker looks and writes."""

    follow: float = 0.25
    """Seconds between two looks at the ledger; each is two small queries. With ``status`` it makes the lag.

    Looking, and not being told: a NOTIFY in every commit takes one lock for the whole server. Measured beside plain
    inserts in the same run, 8 clients keep 0.4 of their rate, 32 clients 0.2; and it does not pass PgBouncer.
    """

    status: float = 0.5
    """Seconds between two patches of one pool's status: two a second at most, however busy the pool is."""

    sweep: float = 30.0
    """Seconds between two rounds of looking for owners that have ended without a DEL, and two tries of a pool that was
    refused."""

    due: float = 5.0
    """Seconds between two rounds of freeing addresses whose cooling or hold is over."""

    watch: int = 300
    """Seconds that a watch lasts at least, twice that at most. Shorter means more requests when idle."""

    notice: float = 300.0
    """Seconds before an Event of the same pool and reason is written again, so that a pool that flaps is no flood."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """Everything the sync worker can be told."""

    lease: LeaseSettings = field(default_factory=LeaseSettings)
    limits: SweepLimits = field(default_factory=SweepLimits)
    pace: Pace = field(default_factory=Pace)
    seal: SealSettings = field(default_factory=SealSettings)
    kubeconfig: str | None = None
    """None: as the pod that this is, or by KUBECONFIG."""

    listen: str | None = None
    """``host:port`` for /healthz and /readyz; None: not served."""


def from_environment(environ: Mapping[str, str] = os.environ) -> SyncSettings:
    """Read every ``IPAM_LEDGER_…`` variable of the sync worker. Raises InvalidInput, which names the variable."""

    def number(name: str, least: float, most: float, read: Callable[[str], Any]) -> Any:
        text = environ.get(f"IPAM_LEDGER_{name}")
        if not text:
            return None
        try:
            value = read(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise InvalidInput(f"IPAM_LEDGER_{name}", text, f"must be a number from {least:g} to {most:g}")
        return value

    def file(name: str) -> Path | None:
        text = environ.get(name)
        return Path(text) if text else None

    def given(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    # Pauses of ten minutes at most: of a part that is silent for longer, the probe says that it is stuck.
    base = SyncSettings()
    namespace = environ.get("IPAM_LEDGER_NAMESPACE") or _own_namespace()
    lease = replace(
        base.lease, **given(namespace=namespace, duration=number("LEASE_SECONDS", 3, 3600, float),
                            renew=number("LEASE_RENEW_SECONDS", 1, 600, float)),
    )  # fmt: skip
    if lease.renew >= lease.leads:
        why = f"must be less than three quarters of IPAM_LEDGER_LEASE_SECONDS, which is {lease.duration:g}"
        raise InvalidInput("IPAM_LEDGER_LEASE_RENEW_SECONDS", lease.renew, why)
    return SyncSettings(
        lease=lease,
        limits=replace(
            base.limits, **given(grace=number("RECLAIM_GRACE", 0, 86_400, float),
                                 share=number("RECLAIM_SHARE", 0, 1, float),
                                 at_most=number("RECLAIM_AT_MOST", 1, 10_000, int)),
        ),
        pace=replace(
            base.pace, **given(follow=number("FOLLOW_SECONDS", 0.05, 60, float),
                               status=number("STATUS_SECONDS", 0.1, 60, float),
                               sweep=number("SWEEP_SECONDS", 0.2, 600, float)),
        ),
        seal=replace(
            base.seal, **given(key=file("IPAM_LEDGER_KEY"),
                               interval=number("SEAL_SECONDS", 1, 86_400, float),
                               checkpoint=file("IPAM_LEDGER_CHECKPOINT"),
                               config_map=environ.get("IPAM_LEDGER_CHECKPOINT_CONFIGMAP") or None),
        ),
        kubeconfig=environ.get("IPAM_LEDGER_KUBECONFIG") or None,
        listen=environ.get("IPAM_LEDGER_LISTEN") or None,
    )  # fmt: skip


def _own_namespace() -> str | None:
    try:
        return POD_NAMESPACE.read_text().strip() or None
    except OSError:
        return None
