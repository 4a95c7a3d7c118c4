"""What the API server says, as frozen records. Pure.

Raw dicts stop here: each ``from_raw`` takes a decoded object, tolerates what it does not know, and raises
``NotAnObject`` for what is no object of that kind at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FINALIZER: Final = "ipam.k8s.io/ledger"
"""Keeps an IPPool in the API server while addresses of it are in use."""

FINISHED: Final = frozenset({"Succeeded", "Failed"})
"""The phases of a pod that has ended for good (it never runs again under the same UID)."""

MIRROR: Final = "kubernetes.io/config.mirror"
"""On the mirror of a static pod: the UID under which the kubelet runs it, which is the one that CNI hears."""

_ORDINAL = re.compile(r"(.+)-(0|[1-9][0-9]{0,9})")


class NotAnObject(ValueError):
    """What came is no such object."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata that matters. ``deleting``: a deletion was asked for and waits for the finalizers."""

    name: str
    uid: str
    version: str
    namespace: str | None = None
    generation: int = 0
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_raw(cls, raw: Any) -> Meta:
        meta = _mapping(_mapping(raw).get("metadata"))
        name, version = meta.get("name"), meta.get("resourceVersion")
        if not isinstance(name, str) or not isinstance(version, str):
            raise NotAnObject("an object without a name or resourceVersion")
        return cls(
            name=name,
            uid=str(meta.get("uid") or ""),
            version=version,
            namespace=meta.get("namespace"),
            generation=_count(meta.get("generation")),
            deleting=meta.get("deletionTimestamp") is not None,
            finalizers=tuple(str(each) for each in meta.get("finalizers") or ()),
            annotations=meta.get("annotations") or {},
        )


@dataclass(frozen=True, slots=True)
class IPPool:
    """An IPPool. ``raw`` is the object as ``ledger.pools.from_object`` reads it; ``status`` what it shows now."""

    meta: Meta
    raw: Mapping[str, Any] = field(hash=False, repr=False)
    status: Mapping[str, Any] = field(hash=False, repr=False)

    @classmethod
    def from_raw(cls, raw: Any) -> IPPool:
        status = raw.get("status") if isinstance(raw, Mapping) else None
        return cls(Meta.from_raw(raw), raw, status if isinstance(status, Mapping) else {})

    def not_older(self, other: IPPool) -> bool:
        """Whether it is at least as new as what is known: an answer to our own patch may be ahead of the watch."""
        try:
            return self.meta.uid != other.meta.uid or int(self.meta.version) >= int(other.meta.version)
        except ValueError:
            return True  # versions are opaque, if they are no numbers

    @property
    def ledger_seq(self) -> int:
        """The ledger position that the status shows, 0 if none."""
        return _count(self.status.get("ledgerSeq"))

    @property
    def reservations(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Who has which addresses, as the status shows it: namespace → pod → addresses. Also as the k8s-ipam plugin wrote it."""
        out: dict[str, dict[str, tuple[str, ...]]] = {}
        for spelling in ("DynamicReservations", "dynamicReservations"):
            shown = self.status.get(spelling)
            for namespace, pods in shown.items() if isinstance(shown, Mapping) else ():
                for pod, ips in pods.items() if isinstance(pods, Mapping) else ():
                    if isinstance(ips, str):
                        out.setdefault(namespace, {})[pod] = tuple(each.strip() for each in ips.split(","))
        return out

    @property
    def claims(self) -> int:
        """How many addresses are in use, as far as the status says."""
        named = sum(len(ips) for pods in self.reservations.values() for ips in pods.values())
        return max(named, _count(self.status.get("allocated")))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. ``uid`` is the one that CNI hears, also of a static pod. ``phase`` is empty where only metadata was read."""

    namespace: str
    name: str
    uid: str
    phase: str = ""

    @classmethod
    def from_raw(cls, raw: Any) -> Pod:
        meta = Meta.from_raw(raw)
        if meta.namespace is None:
            raise NotAnObject("a pod without a namespace")
        status = raw.get("status")
        phase = status.get("phase") if isinstance(status, Mapping) else None
        return cls(meta.namespace, meta.name, meta.annotations.get(MIRROR) or meta.uid, str(phase or ""))

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED


@dataclass(frozen=True, slots=True)
class StatefulSet:
    """A StatefulSet: which ordinals it has, from ``start`` on. ``deleting``: it is on its way out."""

    namespace: str
    name: str
    uid: str
    replicas: int
    start: int = 0
    deleting: bool = False

    @classmethod
    def from_raw(cls, raw: Any) -> StatefulSet:
        meta = Meta.from_raw(raw)
        if meta.namespace is None:
            raise NotAnObject("a StatefulSet without a namespace")
        spec = _mapping(raw.get("spec"))
        replicas = spec.get("replicas")
        ordinals = spec.get("ordinals")
        return cls(
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            replicas=1 if replicas is None else _count(replicas),  # the API's default
            start=_count(ordinals.get("start")) if isinstance(ordinals, Mapping) else 0,
            deleting=meta.deleting,
        )

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def has(self, ordinal: int) -> bool:
        """Whether a pod of that ordinal belongs to the set as it is wanted now."""
        return self.start <= ordinal < self.start + self.replicas


def set_of(pod: str) -> tuple[str, int] | None:
    """The StatefulSet and the ordinal that a pod's name would say, if a StatefulSet made it; None if none could have."""
    match = _ORDINAL.fullmatch(pod)
    return (match[1], int(match[2])) if match else None


def is_static_uid(uid: str | None) -> bool:
    """Whether the UID is a static pod's: a hash without dashes, not a UUID as the API server makes it."""
    return bool(uid) and "-" not in str(uid)


def _mapping(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise NotAnObject(f"a mapping was expected, not {type(raw).__name__}")
    return raw


def _count(raw: Any) -> int:
    return raw if type(raw) is int and raw >= 0 else 0
