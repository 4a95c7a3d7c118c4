"""IPPool objects of the k8s-ipam plugin: ``status.DynamicReservations``, namespace → pod → address. Pure.

The plugin (Go, a field without a JSON name, so its case does not matter to it) knows a pod and its address, and nothing
else: no container id, no interface, no node. So the container id is a placeholder, and the interface is what
``Unsaid`` says. ``spec.staticReservations`` needs no adoption: a statically reserved address is given to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ledger.addresses import canonical
from ledger.adoption.found import Found, Problem, Reading, Unsaid, object_of, placeholder, pod_owner
from ledger.errors import InvalidInput, InvalidRequest
from ledger.events import Attachment
from ledger.outside import is_subdomain, shown

GROUPS: Final = ("ipam.k8s.io", "k8s.domeos.sohuno.com", "k8s.pgc.umn.edu")
"""The API groups that the plugin and what it grew from have had."""
VERSION: Final = "v1alpha1"


def read(objects: Iterable[tuple[str, object]], unsaid: Unsaid) -> Reading:
    """``objects``: each with the words that say where it stands."""
    reading = Reading()
    for place, raw in objects:
        try:
            name, pool = _pool(raw)
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, place))
            continue
        origin = f"k8s-ipam ippool {name}"
        if name in reading.specs:
            reading.problems.append(Problem(origin, "metadata.name", name, "comes twice"))
        spec = pool.get("spec")
        reading.specs.setdefault(name, spec if isinstance(spec, Mapping) else {})
        try:
            status = object_of(pool.get("status"), "status")
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, origin))
            continue
        reading.problems.extend(_doubts(status, origin))
        for key in (key for key in status if key.lower() == "dynamicreservations"):
            _reservations(status[key], f"status.{key}", name, origin, unsaid, reading)
    return reading


def _pool(raw: object) -> tuple[str, Mapping[str, Any]]:
    pool = object_of(raw, "object")
    version = pool.get("apiVersion")
    group = version.partition("/")[0] if isinstance(version, str) else None
    if pool.get("kind") != "IPPool" or group not in GROUPS:
        what = f"{shown(pool.get('kind'))} of {shown(version)}"
        hint = "; read it with --from whereabouts" if group == "whereabouts.cni.cncf.io" else ""
        raise InvalidRequest("kind", what, f"is no IPPool of the k8s-ipam plugin{hint}")
    if version != f"{group}/{VERSION}":
        raise InvalidRequest("apiVersion", shown(version), f"must be {group}/{VERSION}: no other is known")
    name = object_of(pool.get("metadata"), "metadata").get("name")
    if not is_subdomain(name):
        raise InvalidRequest("metadata.name", shown(name), "is no name of an IPPool")
    return str(name), pool


def _doubts(status: Mapping[str, Any], origin: str) -> Iterator[Problem]:
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, Mapping) and (each.get("type"), each.get("status")) == (
            "ReservationsTruncated",
            "True",
        ):
            yield Problem(
                origin, "status.conditions", "ReservationsTruncated", "says that reservations were left out"
            )
    if "DynamicReservations" in status and "ledgerSeq" in status:
        yield Problem(
            origin,
            "status.DynamicReservations",
            None,
            "is what the plugin left, perhaps long ago: the sync worker writes this object's status now",
        )


def _reservations(raw: object, path: str, pool: str, origin: str, unsaid: Unsaid, reading: Reading) -> None:
    try:
        namespaces = object_of(raw, path)
    except InvalidInput as error:
        reading.problems.append(Problem.of(error, origin))
        return
    for namespace, pods in namespaces.items():
        try:
            named = object_of(pods, f"{path}.{namespace}")
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, origin))
            continue
        for pod, address in named.items():
            try:
                reading.found += _pod(
                    namespace, pod, address, f"{path}.{namespace}.{pod}", pool, origin, unsaid
                )
            except InvalidInput as error:
                reading.problems.append(Problem.of(error, origin))


def _pod(
    namespace: str, pod: str, address: object, path: str, pool: str, origin: str, unsaid: Unsaid
) -> list[Found]:
    owner = pod_owner(namespace, pod, path)
    attachment = Attachment(placeholder(namespace, pod), unsaid.if_name, unsaid.network)
    # our own status has several addresses of a pod in one text, parted by commas
    texts = address.split(",") if isinstance(address, str) else [address]
    return [
        Found(canonical(text, path), owner, attachment, pool, origin, pool, unsaid.node) for text in texts
    ]
