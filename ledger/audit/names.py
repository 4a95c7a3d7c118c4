"""What a question names: a pool or an address that the ledger has heard of."""

from __future__ import annotations

from collections.abc import Iterator

from ledger import pools
from ledger.errors import AddressOutsidePool, UnknownAddress, UnknownPool
from ledger.pools import PoolSpec
from ledger.store import Tx, history
from ledger.store.rows import PoolRow, find_pool


def known_pool(tx: Tx, name: str, *, live: bool = False) -> PoolRow:
    """The pool of that name, also a deleted one unless it must be ``live``. Raises UnknownPool."""
    row = find_pool(tx, name)
    if row is None or (live and not row.live):
        raise UnknownPool(name)
    return row


def known_address(tx: Tx, ip: str, pool: str | None = None) -> None:
    """Raises UnknownAddress if no event is of the address, and no pool, deleted ones too, ever had it in its ranges.

    With a ``pool`` only that one counts; raises AddressOutsidePool.
    """
    if any(pool in (None, event.pool) for event in history.newest(tx, ip)):
        return
    ever = [spec for spec in _ever(tx) if pool in (None, spec.name)]
    if any(spec.sub_around(ip) for spec in ever):
        return
    if pool is None:
        raise UnknownAddress(ip)
    raise AddressOutsidePool(pool, ip, ever[-1].ranges if ever else [])


def pools_once_around(tx: Tx, ip: str) -> set[str]:
    """The names of the pools, deleted ones too, that ever had the address in their ranges."""
    return {spec.name for spec in _ever(tx) if spec.sub_around(ip)}


def _ever(tx: Tx) -> Iterator[PoolSpec]:
    return (pools.from_spec(name, spec) for name, spec in history.specs(tx))


def pools_around(tx: Tx, ip: str) -> dict[str, PoolSpec]:
    """The pools, deleted ones too, whose ranges hold the address, by name."""
    read = (pools.from_spec(row.name, row.spec) for row in history.pools(tx))
    return {spec.name: spec for spec in read if spec.sub_around(ip)}
