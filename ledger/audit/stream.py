"""The events themselves, oldest first."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.audit.names import known_address, known_pool
from ledger.events import Event
from ledger.store import Database, history
from ledger.store.history import Wanted

__all__ = ["Wanted", "events"]


def events(database: Database, wanted: Wanted) -> Iterator[Event]:
    """The events that fit, oldest first. Raises UnknownAddress, AddressOutsidePool and UnknownPool for names that the ledger never heard of."""
    with database.read() as tx:
        if wanted.pool is not None:
            known_pool(tx, wanted.pool)
        found = history.events(tx, wanted)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
        elif wanted.ip is not None:
            known_address(tx, wanted.ip, wanted.pool)
