"""What a question names: a pool or an address that the ledger has heard of."""

from __future__ import annotations

from ledger import pools
from ledger.errors import UnknownAddress, UnknownPool
from ledger.pools import PoolSpec
from ledger.store import Tx, history
from ledger.store.rows import PoolRow, find_pool


def known_pool(tx: Tx, name: str, *, live: bool = False) -> PoolRow:
    """The pool of that name, also a deleted one unless it must be ``live``. Raises UnknownPool."""
    row = find_pool(tx, name)
    if row is None or (live and not row.live):
        raise UnknownPool(name)
    return row


def known_address(tx: Tx, ip: str) -> None:
    """Raises UnknownAddress if no event is of the address, and no pool, deleted ones too, has it in its ranges."""
    if not history.newest(tx, ip) and not pools_around(tx, ip):
        raise UnknownAddress(ip)


def pools_around(tx: Tx, ip: str) -> dict[str, PoolSpec]:
    """The pools, deleted ones too, whose ranges hold the address, by name."""
    read = (pools.from_spec(row.name, row.spec) for row in history.pools(tx))
    return {spec.name: spec for spec in read if spec.sub_around(ip)}
