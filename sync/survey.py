"""Everything that the API server knows about addresses, read once and whole: for recovery and for `check --against-cluster`.

What runs is read from the pods themselves: ``status.podIPs`` for the cluster network, and what Multus notes in
``k8s.v1.cni.cncf.io/network-status`` for every further interface.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ledger.addresses import canonical
from ledger.errors import InvalidInput
from sync.kube import IPPOOLS, Api, Resource
from sync.objects import FINISHED, MIRROR, IPPool, Meta, NotAnObject

T = TypeVar("T")

PODS_WHOLE: Final = Resource("pods", "/api/v1/pods")
NETWORK_STATUS: Final = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a running pod: its addresses in canonical text. ``network`` is empty where it is not told."""

    name: str
    network: str
    ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunningPod:
    """A pod that has not finished. ``interfaces`` is empty while it has no addresses, or shares its node's.

    ``deleting``: it is on its way out, and may have given its addresses back though it still shows them.
    """

    namespace: str
    name: str
    uid: str
    node: str | None
    interfaces: tuple[Interface, ...] = ()
    deleting: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def ips(self) -> frozenset[str]:
        return frozenset(ip for each in self.interfaces for ip in each.ips)

    @classmethod
    def from_raw(cls, raw: Any) -> RunningPod | None:
        """None for a pod that has finished. Raises NotAnObject."""
        meta = Meta.from_raw(raw)
        if meta.namespace is None:
            raise NotAnObject("a pod without a namespace")
        spec, status = _mapping(raw.get("spec")), _mapping(raw.get("status"))
        if status.get("phase") in FINISHED:
            return None
        shared = spec.get("hostNetwork") is True
        return cls(
            meta.namespace,
            meta.name,
            meta.annotations.get(MIRROR) or meta.uid,
            spec.get("nodeName") or None,
            () if shared else tuple(_interfaces(meta.annotations, status)),
            meta.deleting,
        )


@dataclass(slots=True)
class Survey:
    """The whole picture. ``pools`` by name, ``pods`` by "namespace/name"; ``unread``: what could not be read, in sentences."""

    pools: dict[str, IPPool] = field(default_factory=dict)
    pods: dict[str, RunningPod] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def survey(api: Api) -> Survey:
    """Read it all. Raises KubeError; half a list is never taken for the whole."""
    out = Survey()
    for pool in _all(api, IPPOOLS, IPPool.from_raw, "an IPPool", out.unread):
        out.pools[pool.meta.name] = pool
    for pod in _all(api, PODS_WHOLE, RunningPod.from_raw, "a pod", out.unread):
        if pod is not None:
            out.pods[pod.key] = pod
    return out


def _all(api: Api, resource: Resource, read: Callable[[Any], T], what: str, unread: list[str]) -> Iterator[T]:
    for items, _ in api.pages(resource):
        for raw in items:
            try:
                yield read(raw)
            except NotAnObject as error:
                unread.append(f"{what}: {error}")


def _interfaces(annotations: Mapping[str, str], status: Mapping[str, Any]) -> list[Interface]:
    try:
        noted = json.loads(annotations.get(NETWORK_STATUS) or "[]")
    except ValueError:
        noted = []
    out = []
    for each in noted if isinstance(noted, list) else []:
        if isinstance(each, Mapping) and (ips := _ips(each.get("ips"))):
            # Multus writes namespace/name for a network that an object defines, the plain name for the cluster's
            network = str(each.get("name") or "").rpartition("/")[2]
            out.append(Interface(str(each.get("interface") or "eth0"), network, ips))
    known = {ip for each in out for ip in each.ips}
    listed = status.get("podIPs")
    first = (
        [each.get("ip") for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    )
    mine = tuple(ip for ip in _ips(first or [status.get("podIP")]) if ip not in known)
    return [*([Interface("eth0", "", mine)] if mine else []), *out]


def _ips(raw: Any) -> tuple[str, ...]:
    out = []
    for each in raw if isinstance(raw, Sequence) and not isinstance(raw, str) else ():
        if isinstance(each, str) and each:
            try:
                out.append(canonical(each.partition("/")[0], "ip"))
            except InvalidInput:
                continue
    return tuple(out)


def _mapping(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}
