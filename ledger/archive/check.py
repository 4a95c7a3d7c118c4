"""Which event may follow which, over a stream of rows: what ``verify`` asks a database, asked of a file. Pure.

Memory grows with the addresses, about 200 bytes each, never with the events.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ledger.addresses import canonical
from ledger.errors import InvalidRequest
from ledger.events import Kind
from ledger.replay import POOL_LEGAL, wrong, wrong_of_pool
from ledger.store.stream import Row

_NONE: Final[tuple[int, str | None, int | None, str]] = (0, None, None, "")


class Check:
    """Takes rows in tree order. Events of one stream come in the order of their versions."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str | None], tuple[int, str | None, int | None, str]] = {}
        self._live: dict[str, bool] = {}
        self._seqs = 0
        self._seen: set[int] = set()
        self._said: dict[tuple[object, ...], str | None] = {}

    def wrong(self, rows: Iterable[Row]) -> tuple[int, str] | None:
        """The first of the next rows that is wrong: its position, and what is wrong with it. None if all may follow."""
        newest, said = self._newest, self._said
        for row in rows:
            seq, at, kind, pool, ip, version, state = row[:7]
            before = newest.get((pool, ip))
            number, left, was, since = before or _NONE
            if version != number + 1:
                return seq, f"version {version} comes where {number + 1} should"
            if seq == self._seqs + 1 and not self._seen:
                self._seqs = seq
            elif twice := self._twice(seq):
                return seq, twice
            holder = hash(row[7:14])
            if ip is None:
                why = self._wrong_of_pool(kind, pool, at < since)
            else:
                key = kind, left, state, was == holder, row[14] is None, at < since
                if key not in said:  # a few dozen, however many events there are
                    said[key] = wrong(kind, left, state, same_owner=key[3], has_until=not key[4], back=key[5])
                why = said[key] or (self._wrong_first(ip, pool) if before is None else None)
            if why is not None:
                return seq, why
            newest[pool, ip] = version, state, holder, at
        return None

    def _wrong_of_pool(self, kind: str, pool: str, back: bool) -> str | None:
        why = wrong_of_pool(kind, self._live.get(pool, False), back=back)
        if why is None:
            self._live[pool] = POOL_LEGAL[Kind(kind)][1]
        return why

    def _wrong_first(self, ip: str, pool: str) -> str | None:
        """What is wrong with the first event of an address besides."""
        try:
            if canonical(ip, "ip") != ip:
                return f"{ip} is not the canonical spelling of an address"
        except InvalidRequest as error:
            return str(error)
        return None if pool in self._live else f"its pool {pool!r} was never created"

    def _twice(self, seq: int) -> str | None:
        """Positions come nearly in order: what is far behind is one number, only the torn edge is a set."""
        if seq <= self._seqs or seq in self._seen:
            return f"position {seq} comes twice"
        self._seen.add(seq)
        while self._seqs + 1 in self._seen:
            self._seqs += 1
            self._seen.remove(self._seqs)
        return None
