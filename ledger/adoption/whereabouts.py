"""Objects of whereabouts: IPPool (``spec.range``, ``spec.allocations``) and OverlappingRangeIPReservation. Pure.

An allocation's key is the distance of its address from the address that ``range`` is written with (which may have host
bits set: whereabouts counts from there, not from the network's first address). It names the container, in newer versions
the pod, and in newer ones still the interface. A cluster-wide reservation says the same again under the address as its
name; one without an allocation is read too, for whereabouts gives its address to nobody either.

The CNI network's name is nowhere in them: it is what ``Unsaid`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import Any, Final

from ledger.addresses import BITS, Family, canonical, to_text
from ledger.adoption.found import (
    Found,
    Problem,
    Reading,
    Unsaid,
    container_id,
    interface,
    object_of,
    placeholder,
    pod_owner,
    text_of,
)
from ledger.errors import InvalidInput, InvalidRequest
from ledger.events import Attachment, Owner
from ledger.outside import shown

API_VERSION: Final = "whereabouts.cni.cncf.io/v1alpha1"
SILENT: Final = frozenset({"NodeSlicePool"})
"""Kinds of the same group that hold no address."""

_OFFSET: Final = re.compile(r"[0-9]{1,39}")
_IPV4_LAST: Final = re.compile(r"(?:^|-)(\d{1,3}(?:\.\d{1,3}){3})$", re.ASCII)


def read(objects: Iterable[tuple[str, object]], unsaid: Unsaid) -> Reading:
    """``objects``: each with the words that say where it stands."""
    reading = Reading()
    reservations: list[Found] = []
    for place, raw in objects:
        try:
            kind, name, spec = _object(raw)
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, place))
            continue
        origin = f"whereabouts {kind.lower()} {name}"
        try:
            if kind == "IPPool":
                _allocations(spec, origin, unsaid, reading)
            elif kind == "OverlappingRangeIPReservation":
                ip = _address_of_name(name.rpartition("/")[2])
                reservations.append(_found(ip, spec, "containerid", "spec.", origin, unsaid))
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, origin))
    reading.found += reservations  # after the allocations, which know more
    return reading


def _object(raw: object) -> tuple[str, str, Mapping[str, Any]]:
    thing = object_of(raw, "object")
    version, kind = thing.get("apiVersion"), thing.get("kind")
    group = version.partition("/")[0] if isinstance(version, str) else None
    if group != API_VERSION.partition("/")[0]:
        hint = "; read it with --from k8s-ipam" if group == "ipam.k8s.io" else ""
        raise InvalidRequest("apiVersion", shown(version), f"is no object of whereabouts{hint}")
    if version != API_VERSION:
        raise InvalidRequest("apiVersion", shown(version), f"must be {API_VERSION}: no other is known")
    if kind not in ("IPPool", "OverlappingRangeIPReservation", *SILENT):
        raise InvalidRequest("kind", shown(kind), "is no kind of whereabouts that holds addresses")
    meta = object_of(thing.get("metadata"), "metadata")
    name, namespace = (
        text_of(meta.get("name"), "metadata.name"),
        text_of(meta.get("namespace"), "metadata.namespace"),
    )
    if not name:
        raise InvalidRequest("metadata.name", None, "is missing")
    return str(kind), f"{namespace}/{name}" if namespace else name, object_of(thing.get("spec"), "spec")


def _allocations(spec: Mapping[str, Any], origin: str, unsaid: Unsaid, reading: Reading) -> None:
    family, base, last = _range(spec.get("range"))
    for offset, allocation in object_of(spec.get("allocations"), "spec.allocations").items():
        path = f"spec.allocations[{offset}]"
        try:
            if not _OFFSET.fullmatch(offset):
                raise InvalidRequest(path, shown(offset), "is no distance from the first address")
            if base + int(offset) > last:
                raise InvalidRequest(path, shown(offset), f"lies outside {spec.get('range')}")
            ip = canonical(to_text(family, base + int(offset)), path)
            reading.found.append(_found(ip, object_of(allocation, path), "id", f"{path}.", origin, unsaid))
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, origin))


def _range(raw: object) -> tuple[Family, int, int]:
    """The family, the address that distances count from, and the last address."""
    text = text_of(raw, "spec.range")
    if "/" not in text or len(text) > 64:
        raise InvalidRequest("spec.range", shown(raw), "is no address with a prefix length")
    try:
        span = ip_interface(text)
    except ValueError as error:
        raise InvalidRequest("spec.range", shown(raw), f"cannot be read: {error}") from error
    family: Family = 4 if span.version == 4 else 6
    assert int(span.ip) < 1 << BITS[family]
    return family, int(span.ip), int(span.network.broadcast_address)


def _found(ip: str, raw: Mapping[str, Any], id_key: str, path: str, origin: str, unsaid: Unsaid) -> Found:
    pod = text_of(raw.get("podref"), f"{path}podref")
    owner = Owner()
    if pod:
        namespace, slash, name = pod.partition("/")
        if not slash:
            raise InvalidRequest(f"{path}podref", shown(pod), "must be namespace/name")
        owner = pod_owner(namespace, name, f"{path}podref")
    elif text_of(raw.get("ipamclaimref"), f"{path}ipamclaimref"):
        raise InvalidRequest(
            f"{path}ipamclaimref", shown(raw["ipamclaimref"]), "belongs to a claim rather than to a pod"
        )
    known = text_of(raw.get(id_key), path + id_key)
    if not known and not pod:
        raise InvalidRequest(path + id_key, None, "is missing, and no pod is named either")
    container = (
        container_id(known, path + id_key) if known else placeholder(str(owner.namespace), str(owner.pod))
    )
    if_name = text_of(raw.get("ifname"), f"{path}ifname")
    return Found(
        ip,
        owner,
        Attachment(
            container, interface(if_name, f"{path}ifname") if if_name else unsaid.if_name, unsaid.network
        ),
        origin.rpartition(" ")[2],
        origin,
        None,
        unsaid.node,
    )


def _address_of_name(name: str) -> str:
    """The address that a reservation is named after: ``10.0.0.5``, ``podnet-10.0.0.5``, ``2001-db8--5``. Raises InvalidRequest.

    An IPv6 address behind a network's name is not read: where the name ends and the address begins cannot be told.
    """
    if last := _IPV4_LAST.search(name):
        return canonical(last[1], "metadata.name")
    try:
        return canonical(name.replace("-", ":"), "metadata.name")
    except InvalidInput as error:
        raise InvalidRequest("metadata.name", shown(name), "is not named after an address") from error
