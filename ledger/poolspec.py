"""A valid pool, and what one may ask it. Pure, and built only by ``ledger.pools``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Literal, cast

from ledger.addresses import AddressRange, AddressSet, Family, kept_by_subnet, subnet, to_int, to_text
from ledger.claims import Node
from ledger.outside import plain

API_VERSION: Final = "ipam.k8s.io/v1alpha1"
KIND: Final = "IPPool"

PickStrategy = Literal["Random", "Lowest"]


@dataclass(frozen=True, slots=True)
class Sub:
    """One entry of ``ipPoolSubs``: a range, its subnet, its gateway, and what of it may be given out.

    ``prefix_length`` 1–32 or 1–128. ``given`` is never empty in the pool as a whole, but may be in one sub.
    ``node_selector`` is None where none, or an empty one, is given. ``reserved``: the pool's reserved ranges and
    gateways of this family, with the words for :meth:`why_not`.
    """

    ordinal: int
    family: Family
    range: AddressRange
    prefix_length: int
    network: IPv4Network | IPv6Network
    gateway: str | None
    given: AddressSet
    node_selector: Mapping[str, str] | None = field(hash=False)
    reserved: tuple[tuple[AddressRange, str], ...] = field(repr=False)

    @property
    def capacity(self) -> int:
        return self.given.size

    def contains(self, ip: str) -> bool:
        """Whether the range holds the address, given out or not. Raises ValueError for garbage."""
        family, address = to_int(ip)
        return family == self.family and self.range.contains(address)

    def why_not(self, ip: str) -> str | None:
        """Why this sub never gives the address out, in words; None where it does. Raises ValueError for garbage."""
        family, address = to_int(ip)
        if family != self.family or not self.range.contains(address):
            return f"outside the range {self.range}"
        if address in self.given:
            return None
        whole = subnet(self.family, address, self.prefix_length)
        for each, why in (*self.reserved, *kept_by_subnet(whole, self.prefix_length)):
            if each.contains(address):
                return why
        raise AssertionError(f"{ip} is withheld without a reason")


@dataclass(frozen=True)
class PoolSpec:
    """A valid IPPool.

    ``cooldown_seconds`` 0 to a year. ``static_reservations``: namespace → pod → its addresses, one of a family
    at most. ``raw``: the spec as it came, unknown fields included, safe for JSON; two specs are compared
    without it (see :func:`same`). Meant to be shared: change nothing inside.
    """

    name: str
    subs: tuple[Sub, ...]
    address_space: str = "default"
    pick_strategy: PickStrategy = "Random"
    cooldown_seconds: int = 0
    retain_for: tuple[str, ...] = ("StatefulSet",)
    static_reservations: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict, hash=False)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def capacity(self) -> int:
        return sum(sub.capacity for sub in self.subs)

    @property
    def ranges(self) -> list[str]:
        return [str(sub.range) for sub in self.subs]

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """In the order in which the subs bring them up."""
        return tuple(dict.fromkeys(sub.family for sub in self.subs))

    def capacity_of(self, family: Family) -> int:
        return sum(sub.capacity for sub in self.subs if sub.family == family)

    def sub_of(self, ip: str) -> Sub | None:
        """The sub that may give the address out, or None. Raises ValueError for garbage."""
        family, address = to_int(ip)
        return next((sub for sub in self.subs if sub.family == family and address in sub.given), None)

    def sub_around(self, ip: str) -> Sub | None:
        """The sub whose range holds the address, given out or not, or None. Raises ValueError for garbage."""
        family, address = to_int(ip)
        subs = (sub for sub in self.subs if sub.family == family)
        return next((sub for sub in subs if sub.range.contains(address)), None)

    def static_for(self, namespace: str, pod: str) -> tuple[str, ...]:
        return self.static_reservations.get(namespace, {}).get(pod, ())

    def static_owner(self, ip: str) -> tuple[str, str] | None:
        """The namespace and pod that the address (in canonical text) is statically reserved for, or None."""
        return self.static_owners.get(ip)

    @cached_property
    def static_owners(self) -> Mapping[str, tuple[str, str]]:
        return {
            ip: (namespace, pod)
            for namespace, pods in self.static_reservations.items()
            for pod, ips in pods.items()
            for ip in ips
        }

    def eligible(self, family: Family, node: Node) -> tuple[Sub, ...]:
        """The subs that a claim from this node may be served from, best first.

        Where a ``nodeSelector`` matches the node's labels it decides: only the subs that match are eligible.
        Otherwise those without a selector are. Among the eligible, a sub whose subnet contains an address of
        the node comes first; else the order is the spec's. Empty if every sub selects other nodes.
        """
        subs = [sub for sub in self.subs if sub.family == family]
        chosen = [sub for sub in subs if sub.node_selector and _matches(sub.node_selector, node.labels)]
        if not chosen:
            chosen = [sub for sub in subs if not sub.node_selector]
        near = {sub.ordinal for sub in chosen if any(_inside(sub, ip) for ip in node.addresses)}
        return tuple(sorted(chosen, key=lambda sub: sub.ordinal not in near))

    def to_object(self) -> dict[str, Any]:
        """The IPPool as kubectl takes it, without status."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name},
            "spec": plain(self.raw, "spec"),
        }

    @cached_property
    def unknown(self) -> Mapping[str, Any]:
        """The fields of the spec and of its subs that this version does not know."""
        found = {key: value for key, value in self.raw.items() if key not in SPEC_FIELDS}
        for number, sub in enumerate(self.raw.get("ipPoolSubs", ())):
            for key, value in sub.items():
                if key not in SUB_FIELDS:
                    found[f"ipPoolSubs[{number}].{key}"] = value
        return found


SUB_FIELDS: Final = frozenset({"range", "reservedRanges", "netmaskBits", "gateway", "nodeSelector"})
SPEC_FIELDS: Final = frozenset(
    {
        "ipPoolSubs",
        "staticReservations",
        "addressSpace",
        "pickStrategy",
        "cooldownSeconds",
        "retainFor",
    }
)


def same(a: PoolSpec, b: PoolSpec) -> bool:
    """Whether applying ``b`` on top of ``a`` changes nothing, however each is spelled."""
    return _meaning(a) == _meaning(b)


def overlap(a: PoolSpec, b: PoolSpec) -> str | None:
    """The first address that the ranges of both hold, given out or not; None if none, or in different spaces."""
    if a.address_space != b.address_space:
        return None
    for family in cast("tuple[Family, ...]", (4, 6)):
        shared = _ranges(a, family).overlap(_ranges(b, family))
        if shared is not None:
            return to_text(family, shared)
    return None


def _matches(selector: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    return labels is not None and all(labels.get(key) == value for key, value in selector.items())


def _inside(sub: Sub, ip: str) -> bool:
    try:
        family, address = to_int(ip)
    except ValueError:  # a node may report a host name among its addresses
        return False
    return family == sub.family and subnet(family, sub.range.first, sub.prefix_length).contains(address)


def _ranges(pool: PoolSpec, family: Family) -> AddressSet:
    return AddressSet.of(family, (sub.range for sub in pool.subs if sub.family == family))


def _meaning(pool: PoolSpec) -> tuple[object, ...]:
    subs = tuple(
        (sub.range, sub.prefix_length, sub.gateway, sub.given, sub.node_selector) for sub in pool.subs
    )
    reserved = {
        family: AddressSet.of(
            family, (each for sub in pool.subs if sub.family == family for each, _ in sub.reserved)
        )
        for family in pool.families
    }
    return (
        pool.name, subs, reserved, pool.address_space, pool.pick_strategy, pool.cooldown_seconds,
        pool.retain_for, pool.static_owners, pool.unknown,
    )  # fmt: skip
