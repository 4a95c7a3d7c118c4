"""An IPPool's spec, read once into a validated ``PoolSpec``. Pure.

What the pages leave open, and how it is read here:

- Reserved ranges and gateways count in the whole pool: a sub never gives out another sub's gateway, nor
  what another sub reserves. Network, broadcast and anycast addresses are those of the sub's own subnet.
- A reserved range may lie outside ``range`` but not outside the subnet (then it is a typing error). The prefix of a
  reserved ``first-last/prefix`` says nothing beyond that both ends share it.
- A prefix in ``range``, also a CIDR's, must equal ``netmaskBits`` where both are given: part of a subnet is written
  ``first-last/prefix``.
- A /31, a /32, a /127 and a /128 have no network, broadcast or anycast address to spare (RFC 3021, RFC 6164).
- A statically reserved address counts in the capacity, and is no other pod's (``static_owner``).
- Unknown fields are kept and compared, never refused: a newer version may have written them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Literal, cast

from ledger.addresses import (
    BITS,
    AddressRange,
    AddressSet,
    Family,
    parse_range,
    sort_key,
    subnet,
    to_int,
    to_text,
)
from ledger.claims import Node
from ledger.errors import InvalidPool

API_VERSION: Final = "ipam.k8s.io/v1alpha1"
KIND: Final = "IPPool"

PickStrategy = Literal["Random", "Lowest"]

MAX_SUBS: Final = 64
MAX_RESERVED: Final = 256
"""Reserved ranges of one sub."""
MAX_STATIC: Final = 8192
"""Static reservations of one pool; an object of Kubernetes holds 1.5 MiB at most."""
MAX_COOLDOWN: Final = 31_536_000
"""Seconds: a year of 365 days."""
MAX_RETAIN: Final = 16
MAX_LABELS: Final = 64
MAX_DEPTH: Final = 32
"""Nesting of the spec, unknown fields included; ours needs 4."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes reads it
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

_NOT_FOR_PODS: Final[tuple[tuple[AddressRange, str], ...]] = (
    (subnet(4, 0, 8), "addresses of 0.0.0.0/8, which no host can have"),
    (subnet(4, 127 << 24, 8), "loopback addresses"),
    (subnet(4, 224 << 24, 4), "multicast addresses"),
    (subnet(6, 0xFF << 120, 8), "multicast addresses"),
)
_CLASS_E_END: Final = (1 << 32) - 1  # 255.255.255.255, the limited broadcast address


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
        for each, why in (*self.reserved, *_of_subnet(whole, self.prefix_length)):
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

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """In the order in which the subs bring them up."""
        return tuple(dict.fromkeys(sub.family for sub in self.subs))

    def capacity_of(self, family: Family) -> int:
        return sum(sub.capacity for sub in self.subs if sub.family == family)

    def sub_of(self, ip: str) -> Sub | None:
        """The sub that may give the address out, or None. Raises ValueError for garbage."""
        found = self.sub_around(ip)
        return found if found and to_int(ip)[1] in found.given else None

    def sub_around(self, ip: str) -> Sub | None:
        """The sub whose range holds the address, given out or not, or None. Raises ValueError for garbage."""
        return next((sub for sub in self.subs if sub.contains(ip)), None)

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
            "spec": _plain(self.raw, "spec"),
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


def from_object(raw: object) -> PoolSpec:
    """Read an IPPool as kubectl takes it. Tolerant of ``status``, metadata and unknown fields.

    A null, and an empty ``gateway``, mean that the field is not there: so the k8s-ipam plugin wrote them.
    Raises InvalidPool, which names the field and the value.
    """
    pool = _mapping(raw, KIND)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if pool.get(key) != wanted:
            raise InvalidPool(key, _shown(pool.get(key)), f"must be {wanted}")
    name = _mapping(pool.get("metadata"), "metadata").get("name")
    return from_spec(name, pool.get("spec"))


def from_spec(name: object, spec: object) -> PoolSpec:
    """Read the spec of a pool of that name, as an event carries it. Raises InvalidPool."""
    if not _is_subdomain(name):
        raise InvalidPool(
            "metadata.name", _shown(name), "must be a DNS subdomain name (RFC 1123), as Kubernetes has it"
        )
    known = cast("dict[str, Any]", _plain(_mapping(spec, "spec"), "spec"))
    subs = _subs(known.get("ipPoolSubs"), "spec.ipPoolSubs")
    pool = PoolSpec(
        name=cast("str", name),
        subs=subs,
        address_space=_address_space(known.get("addressSpace"), "spec.addressSpace"),
        pick_strategy=_pick_strategy(known.get("pickStrategy"), "spec.pickStrategy"),
        cooldown_seconds=_cooldown(known.get("cooldownSeconds"), "spec.cooldownSeconds"),
        retain_for=_retain_for(known.get("retainFor"), "spec.retainFor"),
        static_reservations=_static(known.get("staticReservations"), subs, "spec.staticReservations"),
        raw=known,
    )
    if pool.capacity == 0:
        raise InvalidPool(
            "spec.ipPoolSubs", [str(sub.range) for sub in subs], "leaves no address to give out"
        )
    return pool


def parse(text: str | bytes, source: str) -> list[PoolSpec]:
    """Read every IPPool of a JSON or YAML text: one object, several documents, or a List.

    ``source`` names the text in errors (a file's name, ``stdin``). Raises InvalidPool; with several
    objects its field starts with ``document 2`` or ``items[3]``. A text without any pool is an error.
    """
    from ledger.manifest import read_objects  # brings yaml, which the plugin's road must not load

    pools: dict[str, PoolSpec] = {}
    for place, raw in read_objects(text, source):
        try:
            pool = from_object(raw)
        except InvalidPool as error:
            raise InvalidPool(place + error.field, error.value, error.why) from error
        if pool.name in pools:
            raise InvalidPool(f"{place}metadata.name", pool.name, f"comes twice in {source}")
        pools[pool.name] = pool
    if not pools:
        raise InvalidPool(source, "", "holds no IPPool")
    return list(pools.values())


# -- subs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    """A sub before the whole pool's reserved ranges and gateways are known."""

    path: str
    range: AddressRange
    prefix_length: int
    gateway: int | None
    node_selector: Mapping[str, str] | None
    reserved: tuple[tuple[AddressRange, str], ...]


def _subs(raw: object, path: str) -> tuple[Sub, ...]:
    entries = _list(raw, path, MAX_SUBS)
    if not entries:
        raise InvalidPool(path, _shown(raw), "must hold at least one range of addresses")
    drafts = [
        _draft(_mapping(entry, f"{path}[{number}]"), f"{path}[{number}]")
        for number, entry in enumerate(entries)
    ]
    _refuse_shared(drafts)
    withheld: dict[Family, tuple[tuple[AddressRange, str], ...]] = {}
    for family in cast("tuple[Family, ...]", (4, 6)):
        mine = [draft for draft in drafts if draft.range.family == family]
        gateways = [draft.gateway for draft in mine if draft.gateway is not None]
        withheld[family] = (
            *((AddressRange(each, each, family), "the gateway") for each in dict.fromkeys(gateways)),
            *(each for draft in mine for each in draft.reserved),
        )
    holes = {family: AddressSet.of(family, (each for each, _ in found)) for family, found in withheld.items()}
    return tuple(
        _sub(draft, ordinal, withheld[draft.range.family], holes[draft.range.family])
        for ordinal, draft in enumerate(drafts)
    )


def _draft(raw: Mapping[str, Any], path: str) -> _Draft:
    if raw.get("range") is None:
        raise InvalidPool(f"{path}.range", None, "is missing")
    span, prefix = parse_range(raw["range"], f"{path}.range")
    prefix_length = _prefix_length(raw, span.family, prefix, path)
    whole = subnet(span.family, span.first, prefix_length)
    if not whole.contains(span.last):
        raise InvalidPool(f"{path}.range", raw["range"], f"does not fit into one /{prefix_length} subnet")
    for each, what in _NOT_FOR_PODS:
        if span.overlaps(each):
            raise InvalidPool(f"{path}.range", raw["range"], f"holds {what}")
    if span.family == 4 and span.last == _CLASS_E_END:
        raise InvalidPool(
            f"{path}.range", raw["range"], "holds 255.255.255.255, the limited broadcast address"
        )
    return _Draft(
        path=path,
        range=span,
        prefix_length=prefix_length,
        gateway=_gateway(raw.get("gateway"), whole, prefix_length, f"{path}.gateway"),
        node_selector=_node_selector(raw.get("nodeSelector"), f"{path}.nodeSelector"),
        reserved=tuple(_reserved(raw.get("reservedRanges"), whole, prefix_length, f"{path}.reservedRanges")),
    )


def _prefix_length(raw: Mapping[str, Any], family: Family, prefix: int | None, path: str) -> int:
    bits = raw.get("netmaskBits")
    if bits is None:
        if prefix is None:
            raise InvalidPool(f"{path}.netmaskBits", None, "is missing, and the range has no prefix either")
        if prefix == 0:
            raise InvalidPool(f"{path}.range", raw["range"], "a subnet's prefix length is at least 1")
        return prefix
    found = _integer(bits, f"{path}.netmaskBits", 1, BITS[family])
    if prefix not in (None, found):
        raise InvalidPool(
            f"{path}.netmaskBits", found, f"contradicts the prefix /{prefix} of range {raw['range']!r}"
        )
    return found


def _gateway(raw: object, whole: AddressRange, prefix_length: int, path: str) -> int | None:
    if raw is None or raw == "":
        return None
    span, prefix = parse_range(raw, path)
    if prefix is not None or span.size != 1:
        raise InvalidPool(path, raw, "must be one address")
    if span.family != whole.family:
        raise InvalidPool(path, raw, f"is an IPv{span.family} address, the range is IPv{whole.family}")
    if not whole.covers(span):
        raise InvalidPool(
            path, raw, f"is outside its subnet {to_text(whole.family, whole.first)}/{prefix_length}"
        )
    for each, what in _of_subnet(whole, prefix_length):
        # RFC 4291 section 2.6.1: the anycast address is the routers' own, so a gateway may have it
        if whole.family == 4 and each.covers(span):
            raise InvalidPool(path, raw, f"is {what} of its subnet")
    return span.first


def _reserved(
    raw: object, whole: AddressRange, prefix_length: int, path: str
) -> Iterator[tuple[AddressRange, str]]:
    for number, entry in enumerate(_list(raw, path, MAX_RESERVED)):
        span, _ = parse_range(entry, f"{path}[{number}]")
        if span.family != whole.family:
            raise InvalidPool(
                f"{path}[{number}]", entry, f"is IPv{span.family}, the range is IPv{whole.family}"
            )
        if not whole.covers(span):
            network = f"{to_text(whole.family, whole.first)}/{prefix_length}"
            raise InvalidPool(f"{path}[{number}]", entry, f"is outside the subnet {network}")
        yield span, f"reserved range {entry.strip()}"


def _refuse_shared(drafts: Sequence[_Draft]) -> None:
    widest: _Draft | None = None
    for draft in sorted(drafts, key=lambda each: (each.range.family, each.range.first)):
        if widest and widest.range.overlaps(draft.range):
            later, earlier = max(draft, widest, key=drafts.index), min(draft, widest, key=drafts.index)
            raise InvalidPool(
                f"{later.path}.range", str(later.range), f"overlaps {earlier.path}.range {earlier.range}"
            )
        widest = draft


def _sub(
    draft: _Draft, ordinal: int, withheld: tuple[tuple[AddressRange, str], ...], holes: AddressSet
) -> Sub:
    span = draft.range
    whole = subnet(span.family, span.first, draft.prefix_length)
    spare = [each for each, _ in _of_subnet(whole, draft.prefix_length)]
    network = (whole.first, draft.prefix_length)
    return Sub(
        ordinal=ordinal,
        family=span.family,
        range=span,
        prefix_length=draft.prefix_length,
        network=IPv4Network(network) if span.family == 4 else IPv6Network(network),
        gateway=None if draft.gateway is None else to_text(span.family, draft.gateway),
        given=AddressSet(span.family, (span,)).minus((*holes.meeting(span), *spare)),
        node_selector=draft.node_selector,
        reserved=withheld,
    )


def _of_subnet(whole: AddressRange, prefix_length: int) -> tuple[tuple[AddressRange, str], ...]:
    """The addresses that a subnet keeps for itself."""
    if prefix_length > BITS[whole.family] - 2:
        return ()
    first = AddressRange(whole.first, whole.first, whole.family)
    if whole.family == 6:
        return ((first, "the subnet-router anycast address"),)
    return (first, "the network address"), (AddressRange(whole.last, whole.last, 4), "the broadcast address")


# -- the other fields ---------------------------------------------------------------------------------


def _static(raw: object, subs: tuple[Sub, ...], path: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    owners: dict[str, str] = {}
    for namespace, pods in _mapping({} if raw is None else raw, path).items():
        if not _LABEL.fullmatch(namespace):
            raise InvalidPool(path, namespace, "is no namespace (a DNS label, RFC 1123)")
        for pod, value in _mapping({} if pods is None else pods, f"{path}.{namespace}").items():
            where = f"{path}.{namespace}.{pod}"
            if not _is_subdomain(pod):
                raise InvalidPool(f"{path}.{namespace}", pod, "is no pod's name (a DNS subdomain, RFC 1123)")
            ips = tuple(_static_address(each, subs, where) for each in _static_texts(value, where))
            if len({sort_key(ip)[0] for ip in ips}) != len(ips):
                raise InvalidPool(where, _shown(value), "a pod has one address of each family at most")
            for ip in ips:
                if ip in owners:
                    raise InvalidPool(where, ip, f"is reserved for {owners[ip]} already")
                owners[ip] = f"{namespace}/{pod}"
            if len(owners) > MAX_STATIC:
                raise InvalidPool(path, len(owners), f"holds more than {MAX_STATIC} addresses")
            found.setdefault(namespace, {})[pod] = ips
    return found


def _static_texts(value: object, path: str) -> Sequence[object]:
    """One address; or, for a dual-stack pod, two: parted by a comma (so the CRD has it), or as a list."""
    if isinstance(value, str):
        return value.split(",", 2)
    if isinstance(value, list) and value:
        return value
    raise InvalidPool(path, _shown(value), "must be an address, or two (IPv4 and IPv6) parted by a comma")


def _static_address(value: object, subs: tuple[Sub, ...], path: str) -> str:
    span, prefix = parse_range(value, path)
    if prefix is not None or span.size != 1:
        raise InvalidPool(path, value, "must be one address")
    ip = to_text(span.family, span.first)
    sub = next((sub for sub in subs if sub.contains(ip)), None)
    if sub is None:
        raise InvalidPool(path, ip, "is outside the pool's ranges")
    if why := sub.why_not(ip):
        raise InvalidPool(path, ip, f"is never given out: {why}")
    return ip


def _address_space(raw: object, path: str) -> str:
    if raw is None:
        return "default"
    if not (isinstance(raw, str) and _LABEL.fullmatch(raw)):
        raise InvalidPool(
            path, _shown(raw), "must be a DNS label (RFC 1123): lower case, digits and dashes, at most 63"
        )
    return raw


def _pick_strategy(raw: object, path: str) -> PickStrategy:
    if raw is None:
        return "Random"
    if raw == "Random" or raw == "Lowest":
        return raw
    raise InvalidPool(path, _shown(raw), "must be Random or Lowest")


def _cooldown(raw: object, path: str) -> int:
    return 0 if raw is None else _integer(raw, path, 0, MAX_COOLDOWN)


def _retain_for(raw: object, path: str) -> tuple[str, ...]:
    if raw is None:
        return ("StatefulSet",)
    kinds = _list(raw, path, MAX_RETAIN)
    for number, kind in enumerate(kinds):
        if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
            raise InvalidPool(f"{path}[{number}]", _shown(kind), "must be a kind, such as StatefulSet")
        if kind in kinds[:number]:
            raise InvalidPool(f"{path}[{number}]", kind, "comes twice")
    return tuple(kinds)


def _node_selector(raw: object, path: str) -> Mapping[str, str] | None:
    labels = _mapping({} if raw is None else raw, path)
    if len(labels) > MAX_LABELS:
        raise InvalidPool(path, len(labels), f"holds more than {MAX_LABELS} labels")
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not _is_subdomain(prefix)):
            raise InvalidPool(path, key, "is no label's key")
        if not isinstance(value, str) or (value and not _LABEL_NAME.fullmatch(value)):
            raise InvalidPool(
                f"{path}.{key}", _shown(value), "is no label's value (text of at most 63 characters)"
            )
    return dict(sorted(labels.items())) or None


# -- reading outside data -----------------------------------------------------------------------------


def _integer(raw: object, path: str, least: int, most: int) -> int:
    # True is an int to Python, and 22.0 equals 22; neither is what the API server takes
    if type(raw) is not int:
        raise InvalidPool(path, _shown(raw), f"must be a whole number, {least} to {most}")
    if not least <= raw <= most:
        raise InvalidPool(path, raw, f"must be {least} to {most}")
    return raw


def _list(raw: object, path: str, most: int) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidPool(path, _shown(raw), "must be a list")
    if len(raw) > most:
        raise InvalidPool(path, len(raw), f"holds more than {most} entries")
    return raw


def _mapping(raw: object, path: str) -> Mapping[str, Any]:
    if raw is None:
        raise InvalidPool(path, None, "is missing")
    if not isinstance(raw, Mapping):
        raise InvalidPool(path, _shown(raw), "must be a mapping")
    for key in raw:
        if not isinstance(key, str):
            raise InvalidPool(path, _shown(key), "has a key that is not text")
    return raw


def _plain(raw: object, path: str, depth: int = 0) -> Any:
    """A deep copy that JSON and both databases can hold: no NaN, no NUL, no half surrogates, no huge numbers."""
    if depth > MAX_DEPTH:
        raise InvalidPool(path, "…", f"is nested deeper than {MAX_DEPTH}")
    if isinstance(raw, Mapping):
        pairs = _mapping(raw, path).items()
        return {_plain(key, path): _plain(value, f"{path}.{key}", depth + 1) for key, value in pairs}
    if isinstance(raw, list | tuple):
        return [_plain(value, f"{path}[{number}]", depth + 1) for number, value in enumerate(raw)]
    if isinstance(raw, str):
        if "\0" in raw or raw != raw.encode("utf-8", "ignore").decode("utf-8"):
            raise InvalidPool(ascii(path)[1:-1], ascii(raw), "holds a character that no database stores")
        return raw
    if raw is None or isinstance(raw, bool):
        return raw
    if isinstance(raw, int) and -(1 << 63) <= raw < 1 << 63:
        return raw
    if isinstance(raw, float) and raw - raw == 0:  # neither infinite nor NaN
        return raw
    raise InvalidPool(path, _shown(raw), "is nothing that JSON can hold")


def _shown(raw: object) -> object:
    """The value for an error message: text and small numbers as they are, the rest in a few words."""
    if raw is None or isinstance(raw, bool | float):
        return raw
    if isinstance(raw, int):
        return raw if abs(raw) < 1 << 64 else f"a number of {raw.bit_length()} bits"
    if isinstance(raw, str):
        return raw if len(raw) <= 200 else raw[:200] + "…"
    return f"{type(raw).__name__} of {len(raw)}" if isinstance(raw, list | dict) else type(raw).__name__


def _is_subdomain(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= 253:
        return False
    return all(_LABEL.fullmatch(label) for label in name.split("."))


# -- small helpers ------------------------------------------------------------------------------------


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
