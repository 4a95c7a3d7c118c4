"""Who had an address."""

from __future__ import annotations

from datetime import datetime

from ledger.addresses import canonical
from ledger.audit.names import known_address, known_pool
from ledger.events import Event, Holding, State
from ledger.store import Database, Tx, history


def who_had(
    database: Database, ip: str, at: datetime | None = None, *, pool: str | None = None
) -> list[Holding]:
    """Who has the address now, or had it at a moment: one holding for each pool in which somebody did, by the pool's name.

    [] means nobody. Raises UnknownAddress if no pool ever had it, AddressOutsidePool if that one never had, UnknownPool,
    InvalidInput.
    """
    ip = canonical(ip, "ip")
    with database.read() as tx:
        return [
            Holding(event, until)
            for event, until in _spans(tx, ip, at, pool)
            if event.state is State.ALLOCATED
        ]


def states(
    database: Database, ip: str, at: datetime | None = None, *, pool: str | None = None
) -> list[Event]:
    """The newest event of the address in each pool at a moment, whatever its state. Raises as ``who_had``."""
    with database.read() as tx:
        return [event for event, _ in _spans(tx, canonical(ip, "ip"), at, pool)]


def _spans(tx: Tx, ip: str, at: datetime | None, pool: str | None) -> list[tuple[Event, datetime | None]]:
    if pool is not None:
        known_pool(tx, pool)
    found = [(event, until) for event, until in history.spans(tx, ip, at) if pool in (None, event.pool)]
    if not found:
        known_address(tx, ip, pool)
    return found
