"""Everything the ledger refuses, and why.

::

    LedgerError                     the base; ``facts()`` gives the figures for a machine
    ├── InvalidInput                bad input: names the field and the value, nothing was changed
    │   ├── InvalidPool             … of an IPPool
    │   └── InvalidRequest          … of a request to the book
    ├── UnknownPool                 no pool of that name
    │   └── PoolNotThen             … at the moment that was asked about
    ├── UnknownAddress              the address belongs to no pool
    ├── PoolOverlap                 two pools of one address space share addresses
    ├── PoolInUse                   the change would drop an address that somebody holds
    ├── PoolExhausted               nothing is free, and nobody's address could be reclaimed
    ├── NotOnThisNode               the pool's node selectors give this node no address of that family
    ├── AddressUnavailable          the address that was asked for cannot be had
    │   ├── AddressTaken            … somebody else holds it
    │   ├── AddressReserved         … the pool never gives it out
    │   ├── OwnerHasAnother         … its owner has another one of the pool
    │   └── AddressOutsidePool      … it is not in the pool's ranges
    ├── NotHeld                     the release names an address that its owner does not hold
    ├── SchemaMismatch              the database is behind, ahead, or empty; names the command that mends it
    ├── TryAgain                    nothing is wrong with the request; the database is away or busy
    │   ├── DatabaseAway            … it cannot be reached
    │   ├── LockTimeout             … a lock was not had in time
    │   ├── Fenced                  … it was restored, and the fence is not lifted yet
    │   └── Unfinished              … an import into it was interrupted
    └── LedgerCorrupt               a law of the ledger does not hold
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LedgerError(Exception):
    """The ledger refused."""

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self._facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        """From one process to another: as it is, not made anew of other words."""
        return _the_same, (type(self), self.args, self._facts)

    def facts(self) -> dict[str, Any]:
        """The figures behind the message, for ``details`` and ``-o json``."""
        return dict(self._facts)


def _the_same(kind: type[LedgerError], args: tuple[str, ...], facts: dict[str, Any]) -> LedgerError:
    error = kind.__new__(kind)
    LedgerError.__init__(error, *args, **facts)
    return error


class InvalidInput(LedgerError):
    """The input is not valid."""

    def __init__(self, field: str, value: Any, why: str) -> None:
        shown = repr(value) if len(repr(value)) <= 120 else repr(value)[:117] + "…"
        got = "" if value is None else f" (got {shown})"
        super().__init__(f"{field}: {why}{got}", field=field, value=value, why=why)


class InvalidPool(InvalidInput):
    """The IPPool is not valid."""


class InvalidRequest(InvalidInput):
    """The request is not valid."""


class UnknownPool(LedgerError):
    """There is no such pool."""

    def __init__(self, pool: str) -> None:
        super().__init__(
            f"there is no pool {pool!r}; `ipam-ledger pool list` names those there are", pool=pool
        )


class PoolNotThen(UnknownPool):
    """The pool was not there at that moment."""

    def __init__(self, pool: str, at: str, why: str) -> None:
        LedgerError.__init__(self, f"pool {pool!r} was not there at {at}: {why}", pool=pool, at=at)


class UnknownAddress(LedgerError):
    """The address belongs to no pool."""

    def __init__(self, ip: str) -> None:
        super().__init__(
            f"{ip} belongs to no pool of this ledger; `ipam-ledger pool list` names them, `pool show NAME` the ranges of one",
            ip=ip,
        )


class PoolOverlap(LedgerError):
    """Two pools of one address space share addresses."""

    def __init__(self, pool: str, other: str, space: str, first: str) -> None:
        super().__init__(
            f"pool {pool!r} overlaps pool {other!r} in address space {space!r} (first shared address: {first})",
            pool=pool, other=other, addressSpace=space, ip=first,
        )  # fmt: skip


class PoolInUse(LedgerError):
    """The change would drop an address that somebody holds."""

    def __init__(self, pool: str, ip: str, holder: str, count: int) -> None:
        more = f" and {count - 1} more" if count > 1 else ""
        super().__init__(
            f"pool {pool!r} cannot drop {ip}{more}: in use by {holder}; release it first",
            pool=pool,
            ip=ip,
            holder=holder,
            count=count,
        )


class PoolExhausted(LedgerError):
    """No address is free, and none could be reclaimed."""

    def __init__(
        self,
        pool: str,
        family: int,
        *,
        capacity: int,
        allocated: int,
        held: int,
        cooling: int,
        asked: int = 0,
    ) -> None:
        evidence = f"; asked about {asked} owners, all still there" if asked else ""
        super().__init__(
            f"pool {pool!r} has no free IPv{family} address: "
            f"capacity {capacity}, allocated {allocated}, held {held}, cooling {cooling}{evidence}",
            pool=pool, family=family, capacity=capacity, allocated=allocated, held=held, cooling=cooling, asked=asked,
        )  # fmt: skip


class NotOnThisNode(LedgerError):
    """The pool's node selectors give this node no address of that family."""

    def __init__(self, pool: str, family: int, node: str | None) -> None:
        super().__init__(
            f"no sub of pool {pool!r} gives IPv{family} addresses to node {node or '(unknown)'}: look at their nodeSelector",
            pool=pool, family=family, node=node,
        )  # fmt: skip


class AddressUnavailable(LedgerError):
    """The address that was asked for cannot be had."""


class AddressTaken(AddressUnavailable):
    """Somebody else holds the address."""

    def __init__(self, pool: str, ip: str, state: str, holder: str) -> None:
        super().__init__(
            f"{ip} of pool {pool!r} is {taken(state, holder)}", pool=pool, ip=ip, state=state, holder=holder
        )


def taken(state: str, holder: str) -> str:
    """An address is allocated to its owner, and held for it, or cooling after it."""
    word = {"held": "for", "cooling": "after"}.get(state, "to")
    return f"{state} {word} {holder}"


class AddressReserved(AddressUnavailable):
    """The pool never gives this address out."""

    def __init__(self, pool: str, ip: str, why: str) -> None:
        super().__init__(f"{ip} of pool {pool!r} is never given out: {why}", pool=pool, ip=ip, why=why)


class OwnerHasAnother(AddressUnavailable):
    """The owner has another address of the pool."""

    def __init__(self, pool: str, ip: str, other: str, holder: str) -> None:
        super().__init__(
            f"{holder} has {other} of pool {pool!r} on this interface, and so not {ip}",
            pool=pool, ip=ip, other=other, holder=holder,
        )  # fmt: skip


class AddressOutsidePool(AddressUnavailable):
    """The address is not in the pool's ranges."""

    def __init__(self, pool: str, ip: str, ranges: Sequence[str]) -> None:
        more = f" and {len(ranges) - 4} more" if len(ranges) > 4 else ""
        has = f", which has {', '.join(ranges[:4])}{more}" if ranges else ""
        super().__init__(f"{ip} is outside pool {pool!r}{has}", pool=pool, ip=ip)


class NotHeld(LedgerError):
    """The release names an address that its owner does not hold."""


class SchemaMismatch(LedgerError):
    """The database is at another schema version than this program."""


class TryAgain(LedgerError):
    """The database is busy or away; try again."""


class DatabaseAway(TryAgain):
    """The database cannot be reached."""


class LockTimeout(TryAgain):
    """A lock was not had in time."""


class Fenced(TryAgain):
    """Nothing is given out until the fence is lifted."""

    def __init__(self, reason: str, since: str) -> None:
        super().__init__(
            f"nothing is given out: {reason} (since {since}); compare with the cluster, then `ipam-ledger fence lift`",
            reason=reason, since=since,
        )  # fmt: skip


class Unfinished(TryAgain):
    """An import into this database has not ended; if it was interrupted, `ipam-ledger import` it again, and it goes on where it was."""


class LedgerCorrupt(LedgerError):
    """A law of the ledger does not hold."""
