"""Settings by theme, read from the environment once, at the entry point."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class BookSettings:
    """How hard the book tries before it gives up."""

    attempts: int = 12
    """How often a transaction that lost a race is decided anew before LockTimeout. Losing even three times running
    takes dozens of writers at the same few addresses."""

    reclaim_deadline: float = 10.0
    """Seconds that one ADD on a full pool may spend asking whether owners still run. Well below the minutes that
    a kubelet waits; the next attempt asks about others, since the order is random."""


def default_database_url() -> str:
    """``IPAM_LEDGER_DB``, else the embedded SQLite ledger: under /var/lib as root, else in the user's state folder."""
    return os.environ.get("IPAM_LEDGER_DB") or f"sqlite:///{state_folder() / 'ledger.db'}"


def reading_database_url() -> str:
    """Where questions go: ``IPAM_LEDGER_READ_DB``, a replica, else the ledger itself."""
    return os.environ.get("IPAM_LEDGER_READ_DB") or default_database_url()


def state_folder() -> Path:
    """Where this user's durable state lives (XDG Base Directory Specification; root: the FHS's /var/lib)."""
    if os.geteuid() == 0:
        return Path("/var/lib/ipam-ledger")
    base = os.environ.get("XDG_STATE_HOME") or ""
    if base and not base.startswith("/"):
        raise InvalidInput("XDG_STATE_HOME", base, "must be an absolute path")
    return (Path(base) if base else Path.home() / ".local" / "state") / "ipam-ledger"
