"""Which event may follow which, over a stream of rows: what ``verify`` asks a database, asked of a file. Pure.

Memory grows with the addresses, about 200 bytes each, never with the events.
"""

from __future__ import annotations

from ledger.addresses import canonical
from ledger.errors import InvalidRequest
from ledger.events import Kind
from ledger.replay import POOL_LEGAL, wrong, wrong_of_pool
from ledger.store.stream import Row


class Check:
    """Takes rows in tree order. Events of one stream come in the order of their versions."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str | None], tuple[int, str | None, int, str]] = {}
        self._live: dict[str, bool] = {}
        self._seqs = 0
        self._seen: set[int] = set()
        self._said: dict[tuple[object, ...], str | None] = {}

    def wrong(self, row: Row) -> str | None:
        """What is wrong with the next row, in words; None if nothing is."""
        seq, at, kind, pool, ip, version, state = row[:7]
        before = self._newest.get((pool, ip))
        if version != (before[0] + 1 if before else 1):
            return f"version {version} comes where {before[0] + 1 if before else 1} should"
        if seq == self._seqs + 1 and not self._seen:
            self._seqs = seq
        elif twice := self._twice(seq):
            return twice
        holder = hash(row[7:14])
        back = before is not None and at < before[3]
        if ip is None:
            why = wrong_of_pool(kind, self._live.get(pool, False), back=back)
            if why is None:
                self._live[pool] = POOL_LEGAL[Kind(kind)][1]
        else:
            if before is None:
                try:
                    if canonical(ip, "ip") != ip:
                        return f"{ip} is not the canonical spelling of an address"
                except InvalidRequest as error:
                    return str(error)
                if pool not in self._live:
                    return f"its pool {pool!r} was never created"
            left = before[1] if before else None
            same = before is not None and before[2] == holder
            key = kind, left, state, same, row[14] is None, back
            if key not in self._said:  # a few dozen, however many events there are
                self._said[key] = wrong(
                    kind, left, state, same_owner=same, has_until=row[14] is not None, back=back
                )
            why = self._said[key]
        if why is None:
            self._newest[pool, ip] = (version, state, holder, at)
        return why

    def _twice(self, seq: int) -> str | None:
        """Positions come nearly in order: what is far behind is one number, only the torn edge is a set."""
        if seq <= self._seqs or seq in self._seen:
            return f"position {seq} comes twice"
        self._seen.add(seq)
        while self._seqs + 1 in self._seen:
            self._seqs += 1
            self._seen.remove(self._seqs)
        return None
