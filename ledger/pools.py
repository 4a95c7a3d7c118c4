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
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, cast

from ledger.addresses import (
    BITS,
    AddressRange,
    AddressSet,
    Family,
    kept_by_subnet,
    parse_range,
    subnet,
    to_int,
    to_text,
)
from ledger.errors import InvalidPool
from ledger.outside import LABEL, entries, integer, is_subdomain, mapping, plain, shown
from ledger.poolspec import API_VERSION, KIND, PickStrategy, PoolSpec, Sub, overlap, same

__all__ = ["API_VERSION", "KIND", "PoolSpec", "Sub", "from_object", "from_spec", "overlap", "parse", "same"]

MAX_SUBS: Final = 64
MAX_RESERVED: Final = 256
"""Reserved ranges of one sub."""
MAX_STATIC: Final = 8192
"""Static reservations of one pool; an object of Kubernetes holds 1.5 MiB at most."""
MAX_COOLDOWN: Final = 31_536_000
"""Seconds: a year of 365 days."""
MAX_RETAIN: Final = 16
MAX_LABELS: Final = 64

_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

_NOT_FOR_PODS: Final[tuple[tuple[AddressRange, str], ...]] = (
    (subnet(4, 0, 8), "addresses of 0.0.0.0/8, which no host can have"),
    (subnet(4, 127 << 24, 8), "loopback addresses"),
    (subnet(4, 224 << 24, 4), "multicast addresses"),
    (subnet(6, 0xFF << 120, 8), "multicast addresses"),
)
_CLASS_E_END: Final = (1 << 32) - 1  # 255.255.255.255, the limited broadcast address


def from_object(raw: object) -> PoolSpec:
    """Read an IPPool as kubectl takes it. Tolerant of ``status``, metadata and unknown fields.

    A null, and an empty ``gateway``, mean that the field is not there: so the k8s-ipam plugin wrote them.
    Raises InvalidPool, which names the field and the value.
    """
    pool = mapping(raw, KIND)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if pool.get(key) != wanted:
            raise InvalidPool(key, shown(pool.get(key)), f"must be {wanted}")
    name = mapping(pool.get("metadata"), "metadata").get("name")
    return from_spec(name, pool.get("spec"))


def from_spec(name: object, spec: object) -> PoolSpec:
    """Read the spec of a pool of that name, as an event carries it. Raises InvalidPool."""
    if not is_subdomain(name):
        raise InvalidPool(
            "metadata.name", shown(name), "must be a DNS subdomain name (RFC 1123), as Kubernetes has it"
        )
    known = cast("dict[str, Any]", plain(mapping(spec, "spec"), "spec"))
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
    found = entries(raw, path, MAX_SUBS)
    if not found:
        raise InvalidPool(path, shown(raw), "must hold at least one range of addresses")
    drafts = [
        _draft(mapping(entry, f"{path}[{number}]"), f"{path}[{number}]") for number, entry in enumerate(found)
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
    found = integer(bits, f"{path}.netmaskBits", 1, BITS[family])
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
    for each, what in kept_by_subnet(whole, prefix_length):
        # RFC 4291 section 2.6.1: the anycast address is the routers' own, so a gateway may have it
        if whole.family == 4 and each.covers(span):
            raise InvalidPool(path, raw, f"is {what} of its subnet")
    return span.first


def _reserved(
    raw: object, whole: AddressRange, prefix_length: int, path: str
) -> Iterator[tuple[AddressRange, str]]:
    for number, entry in enumerate(entries(raw, path, MAX_RESERVED)):
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
    spare = [each for each, _ in kept_by_subnet(whole, draft.prefix_length)]
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


# -- the other fields ---------------------------------------------------------------------------------


def _static(raw: object, subs: tuple[Sub, ...], path: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    owners: dict[str, str] = {}
    for namespace, pods in mapping({} if raw is None else raw, path).items():
        if not LABEL.fullmatch(namespace):
            raise InvalidPool(path, namespace, "is no namespace (a DNS label, RFC 1123)")
        for pod, value in mapping({} if pods is None else pods, f"{path}.{namespace}").items():
            where = f"{path}.{namespace}.{pod}"
            if not is_subdomain(pod):
                raise InvalidPool(f"{path}.{namespace}", pod, "is no pod's name (a DNS subdomain, RFC 1123)")
            ips = tuple(_static_address(each, subs, where) for each in _static_texts(value, where))
            if len({to_int(ip)[0] for ip in ips}) != len(ips):
                raise InvalidPool(where, shown(value), "a pod has one address of each family at most")
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
    raise InvalidPool(path, shown(value), "must be an address, or two (IPv4 and IPv6) parted by a comma")


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
    if not (isinstance(raw, str) and LABEL.fullmatch(raw)):
        raise InvalidPool(
            path, shown(raw), "must be a DNS label (RFC 1123): lower case, digits and dashes, at most 63"
        )
    return raw


def _pick_strategy(raw: object, path: str) -> PickStrategy:
    if raw is None:
        return "Random"
    if raw == "Random" or raw == "Lowest":
        return raw
    raise InvalidPool(path, shown(raw), "must be Random or Lowest")


def _cooldown(raw: object, path: str) -> int:
    return 0 if raw is None else integer(raw, path, 0, MAX_COOLDOWN)


def _retain_for(raw: object, path: str) -> tuple[str, ...]:
    if raw is None:
        return ("StatefulSet",)
    kinds = entries(raw, path, MAX_RETAIN)
    for number, kind in enumerate(kinds):
        if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
            raise InvalidPool(f"{path}[{number}]", shown(kind), "must be a kind, such as StatefulSet")
        if kind in kinds[:number]:
            raise InvalidPool(f"{path}[{number}]", kind, "comes twice")
    return tuple(kinds)


def _node_selector(raw: object, path: str) -> Mapping[str, str] | None:
    labels = mapping({} if raw is None else raw, path)
    if len(labels) > MAX_LABELS:
        raise InvalidPool(path, len(labels), f"holds more than {MAX_LABELS} labels")
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not is_subdomain(prefix)):
            raise InvalidPool(path, key, "is no label's key")
        if not isinstance(value, str) or (value and not _LABEL_NAME.fullmatch(value)):
            raise InvalidPool(
                f"{path}.{key}", shown(value), "is no label's value (text of at most 63 characters)"
            )
    return dict(sorted(labels.items())) or None
