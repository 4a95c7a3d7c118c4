"""Address arithmetic: ranges, sets of ranges, and the one canonical spelling of an address. Pure.

An address is a pair (family, integer) inside, canonical text outside. Nothing here walks over a range:
an IPv4 /8 or an IPv6 /32 costs what a /30 costs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import accumulate
from socket import AF_INET, AF_INET6, inet_ntoa, inet_pton
from typing import Final, Literal

from ledger.errors import InvalidPool, InvalidRequest

Family = Literal[4, 6]

BITS: Final[dict[Family, int]] = {4: 32, 6: 128}

MAX_RANGE_TEXT: Final = 100
"""Characters. Two IPv6 addresses, the dash and the prefix need 95."""

_MAPPED: Final = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_LOW_32: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """The addresses from ``first`` to ``last``, both included, of one family."""

    first: int
    last: int
    family: Family

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last < 1 << BITS[self.family]:
            raise ValueError(f"no range of IPv{self.family} addresses: {self.first}-{self.last}")

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def contains(self, address: int) -> bool:
        return self.first <= address <= self.last

    def covers(self, other: AddressRange) -> bool:
        return self.family == other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: AddressRange) -> bool:
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        """``first-last``, or the address alone: what :func:`parse_range` reads back."""
        first = to_text(self.family, self.first)
        return first if self.first == self.last else f"{first}-{to_text(self.family, self.last)}"


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Any addresses of one family, as disjoint ranges in order. Build it with :meth:`of`.

    ``size`` is exact where ``len()`` could not be (an IPv6 /64 has 2**64 addresses).
    """

    family: Family
    ranges: tuple[AddressRange, ...] = ()
    _firsts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """How many addresses lie in the ranges up to and including each one."""

    def __post_init__(self) -> None:
        for before, after in zip(self.ranges, self.ranges[1:], strict=False):
            if before.last + 1 >= after.first:
                raise ValueError(f"ranges must be disjoint, apart and in order: {before}, {after}")
        if any(each.family != self.family for each in self.ranges):
            raise ValueError(f"every range must be of IPv{self.family}")
        object.__setattr__(self, "_firsts", tuple(each.first for each in self.ranges))
        object.__setattr__(self, "_ends", tuple(accumulate(each.size for each in self.ranges)))

    @classmethod
    def of(cls, family: Family, ranges: Iterable[AddressRange]) -> AddressSet:
        """The union of ``ranges``, which may overlap and come in any order."""
        merged: list[AddressRange] = []
        for each in sorted(ranges):
            if merged and each.first <= merged[-1].last + 1:
                if each.last > merged[-1].last:
                    merged[-1] = AddressRange(merged[-1].first, each.last, family)
            else:
                merged.append(each)
        return cls(family, tuple(merged))

    @property
    def size(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, address: int) -> bool:
        at = bisect_right(self._firsts, address) - 1
        return at >= 0 and address <= self.ranges[at].last

    def nth(self, index: int) -> int:
        """The address number ``index`` in ascending order, from 0; O(log ranges). Raises IndexError."""
        if not 0 <= index < self.size:
            raise IndexError(f"no address number {index} among {self.size}")
        at = bisect_right(self._ends, index)
        return self.ranges[at].last - (self._ends[at] - 1 - index)

    def index(self, address: int) -> int:
        """The inverse of :meth:`nth`, for an address of this set."""
        at = bisect_right(self._firsts, address) - 1
        return self._ends[at] - 1 - (self.ranges[at].last - address)

    def minus(self, ranges: Iterable[AddressRange]) -> AddressSet:
        """This set without ``ranges`` (overlapping, in any order, of this family)."""
        holes = AddressSet.of(self.family, ranges)
        left: list[AddressRange] = []
        for each in self.ranges:
            first = each.first
            for hole in holes.meeting(each):
                if first < hole.first:
                    left.append(AddressRange(first, hole.first - 1, self.family))
                first = hole.last + 1
            if first <= each.last:
                left.append(AddressRange(first, each.last, self.family))
        return AddressSet(self.family, tuple(left))

    def meeting(self, span: AddressRange) -> tuple[AddressRange, ...]:
        """The ranges of this set that share an address with ``span``, which is of this family."""
        start = max(bisect_right(self._firsts, span.first) - 1, 0)
        if start < len(self.ranges) and self.ranges[start].last < span.first:
            start += 1
        return self.ranges[start : bisect_right(self._firsts, span.last)]

    def overlap(self, other: AddressSet) -> int | None:
        """The first address that both hold, or None."""
        if self.family != other.family:
            return None
        few, many = sorted((self, other), key=lambda each: len(each.ranges))
        for each in few.ranges:
            if met := many.meeting(each):
                return max(each.first, met[0].first)
        return None


def to_int(text: str) -> tuple[Family, int]:
    """An address's family and number, by which addresses are sorted. Raises ValueError for what is no address, and for a zone (``%eth0``)."""
    try:  # ten times as fast as ipaddress, which has the better words for what is no address
        if ":" in text:
            return 6, int.from_bytes(inet_pton(AF_INET6, text), "big")
        return 4, int.from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        pass
    if ":" not in text:
        return 4, int(IPv4Address(text))
    if "%" in text:
        raise ValueError("an address with a zone belongs to one machine")
    return 6, int(IPv6Address(text))


def to_text(family: Family, address: int) -> str:
    """The canonical spelling (RFC 5952 for IPv6): every address is stored and compared as this text."""
    return inet_ntoa(address.to_bytes(4, "big")) if family == 4 else str(IPv6Address(address))


def canonical(text: object, field: str) -> str:
    """The canonical spelling of one address that somebody typed; ``field`` names it in the error.

    Raises InvalidRequest for garbage, and for an IPv4-mapped IPv6 address (``::ffff:10.0.0.1``), which
    would be a second spelling of an IPv4 address, and names that.
    """
    if not isinstance(text, str):
        raise InvalidRequest(field, text, "must be an IP address as text")
    try:
        family, address = to_int(_bounded(text))
    except ValueError as error:
        raise InvalidRequest(field, text, _bare(text) or f"is not an IP address: {_why(error)}") from error
    if family == 6 and address & ~_LOW_32 == _MAPPED:
        raise InvalidRequest(field, text, f"is an IPv4-mapped address: write {to_text(4, address & _LOW_32)}")
    return to_text(family, address)


def _bare(text: str) -> str | None:
    """What is wrong with an address that stands with its prefix, as the plugin's answer shows it; None for anything else."""
    bare, _, prefix = text.partition("/")
    try:
        family, address = to_int(_bounded(bare))
    except ValueError:
        return None
    return f"is an address with a prefix: write {to_text(family, address)}" if prefix.isdigit() else None


def parse_range(text: object, field: str) -> tuple[AddressRange, int | None]:
    """Read ``first-last/prefix``, ``first-last``, a CIDR or one address; the prefix length is None if not given.

    A CIDR means its whole subnet and so may have no host bits; ``first-last/prefix`` means those addresses of
    one subnet of that prefix. Raises InvalidPool naming ``field``, also for ranges in ::ffff:0:0/96
    (IPv4-mapped) and ::/96 (IPv4-compatible), whose addresses have two spellings.
    """
    if not isinstance(text, str):
        raise InvalidPool(field, text, "must be text such as 10.0.0.10-10.0.0.99/24 or 10.0.0.0/24")
    try:
        return _range(_bounded(text))
    except ValueError as error:
        raise InvalidPool(field, text, _why(error)) from error


def subnet(family: Family, address: int, prefix_length: int) -> AddressRange:
    """The whole subnet of that prefix length around the address."""
    host = (1 << (BITS[family] - prefix_length)) - 1
    return AddressRange(address & ~host, address | host, family)


def kept_by_subnet(whole: AddressRange, prefix_length: int) -> tuple[tuple[AddressRange, str], ...]:
    """The addresses that a subnet keeps for itself, with their names.

    A /31, a /32, a /127 and a /128 have none to spare (RFC 3021, RFC 6164).
    """
    if prefix_length > BITS[whole.family] - 2:
        return ()
    first = AddressRange(whole.first, whole.first, whole.family)
    if whole.family == 6:
        return ((first, "the subnet-router anycast address"),)
    return (first, "the network address"), (AddressRange(whole.last, whole.last, 4), "the broadcast address")


def _range(text: str) -> tuple[AddressRange, int | None]:
    ends, slash, prefix_text = text.partition("/")
    first_text, dash, last_text = ends.partition("-")
    family, first = to_int(first_text.strip())
    last = first
    if dash:
        other, last = to_int(last_text.strip())
        if other != family:
            raise ValueError(f"mixes IPv{family} and IPv{other}")
        if last < first:
            raise ValueError("the first address comes after the last")
    prefix = _prefix(prefix_text.strip(), family) if slash else None
    if prefix is not None:
        whole = subnet(family, first, prefix)
        if dash and not whole.contains(last):
            raise ValueError(f"the first and the last address are not in one /{prefix} subnet")
        if not dash and whole.first != first:
            network = f"{to_text(family, whole.first)}/{prefix}"
            raise ValueError(
                f"has host bits set; the whole subnet is {network}, one address is written alone"
            )
        last = last if dash else whole.last
    found = AddressRange(first, last, family)
    _one_spelling(found)
    return found, prefix


def _prefix(text: str, family: Family) -> int:
    # isascii: isdigit alone also takes other scripts' digits, and int() too
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and text == str(int(text))):
        raise ValueError(f"{text!r} is no prefix length")
    if int(text) > BITS[family]:
        raise ValueError(f"a prefix length of IPv{family} is 0 to {BITS[family]}, not {text}")
    return int(text)


def _one_spelling(found: AddressRange) -> None:
    if found.family == 4:
        return
    if found.overlaps(AddressRange(_MAPPED, _MAPPED | _LOW_32, 6)):
        raise ValueError("holds IPv4-mapped addresses (::ffff:0:0/96), which have two spellings; write IPv4")
    if found.first <= _LOW_32:
        raise ValueError(
            "holds IPv4-compatible addresses (::/96), which have two spellings and are deprecated (RFC 4291)"
        )


def _bounded(text: str) -> str:
    if len(text) > MAX_RANGE_TEXT:
        raise ValueError(f"is longer than {MAX_RANGE_TEXT} characters")
    return text.strip()


def _why(error: ValueError) -> str:
    return str(error).replace("\n", " ") or "is not valid"
