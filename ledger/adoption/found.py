"""What a reader found in another IPAM's records. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.errors import InvalidInput, InvalidRequest
from ledger.events import Attachment, Owner, holder
from ledger.outside import is_subdomain, shown

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,252}")
"""Container ids and network names (CNI SPEC); the length is what an index takes."""
_IF_NAME: Final = re.compile(r"[^\s/:\x00]{1,15}")


@dataclass(frozen=True, slots=True)
class Found:
    """One address that another IPAM has given out.

    ``ip`` in canonical text. ``record``: the name of the object or network that it is written in, and ``origin`` the same in
    full words (``whereabouts ippool kube-system/10.0.0.0-16``).
    ``pool``: the name of the pool it belongs to, None where the address decides. ``node``: None where the source does not say.
    """

    ip: str
    owner: Owner
    attachment: Attachment
    record: str
    origin: str
    pool: str | None = None
    node: str | None = None

    @property
    def holder(self) -> str:
        return holder(self.owner, self.attachment)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be read: in which file or object, which field, its value, and why."""

    origin: str
    field: str
    value: object
    why: str

    @classmethod
    def of(cls, error: InvalidInput, origin: str) -> Problem:
        return cls(origin, error.field, shown(error.value), error.why)

    def __str__(self) -> str:
        got = f" (got {self.value!r})" if self.value not in (None, "") else ""
        return f"{self.field}: {self.why}{got}" if self.field else f"{self.why}{got}"


@dataclass(slots=True)
class Reading:
    """Everything that one reader found. ``specs``: the pools it came upon, name → spec as it came, for ``--apply-pools``."""

    found: list[Found] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What the records do not say, as a person says it.

    ``if_name``: the interface, where a record names none; the next ADD finds the address only under the interface that
    it asks for. ``network``: the CNI network's name; a DEL finds the address only under its own. ``node``: where these
    records come from.
    """

    if_name: str = "eth0"
    network: str = ""
    node: str | None = None


def placeholder(namespace: str, pod: str) -> str:
    """Stands for a container id that the source does not know.

    No runtime's DEL can name it, for the SPEC's container ids hold neither ':' nor '/'.
    """
    return f"adopted:{namespace}/{pod}"


def is_placeholder(container_id: str) -> bool:
    return container_id.startswith("adopted:")


def pod_owner(namespace: object, pod: object, field: str) -> Owner:
    """Raises InvalidRequest for names that no pod can have."""
    for value in (namespace, pod):
        if not is_subdomain(value):
            raise InvalidRequest(field, shown(value), "is no name of a pod or namespace (RFC 1123)")
    return Owner(str(namespace), str(pod))


def container_id(raw: object, field: str) -> str:
    if not isinstance(raw, str) or not _NAME.fullmatch(raw.strip()):
        raise InvalidRequest(
            field, shown(raw), "is no container id: a letter or digit, then letters, digits, '_', '.' or '-'"
        )
    return raw.strip()


def network_name(raw: str, field: str) -> str:
    if not _NAME.fullmatch(raw):
        raise InvalidRequest(field, shown(raw), "is no name of a CNI network")
    return raw


def interface(raw: object, field: str) -> str:
    if not isinstance(raw, str) or not _IF_NAME.fullmatch(raw.strip()) or raw.strip() in (".", ".."):
        raise InvalidRequest(
            field, shown(raw), "is no interface name: 1 to 15 characters without '/', ':' and space"
        )
    return raw.strip()


def text_of(raw: object, field: str) -> str:
    """Text, or "" where there is none. Raises InvalidRequest for anything else."""
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise InvalidRequest(field, shown(raw), "must be text")
    return raw.strip()


def object_of(raw: object, field: str) -> Mapping[str, Any]:
    """A mapping, empty where there is none. Raises InvalidRequest for anything else."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise InvalidRequest(field, shown(raw), "must be an object")
    return raw
