"""What a leaf is: the RFC 8785 canonical JSON of an event. Pure.

A leaf is ``Event.to_json()`` in canonical form, UTF-8: *every* field that interface.md shows, null where
there is none, and ``spec`` for pool events only. The position ``seq`` is in it; the database's ``xid`` is
not, for it means nothing after a dump and a restore. The place in the tree is commit order, not ``seq``.

An event's shape is flat and its keys are fixed, so the form is written directly, keys already in order;
a test holds it equal to the ``rfc8785`` package for any event. Only a pool's ``spec`` goes through that package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ledger.events import Event, rfc3339

# json's own C encoder escapes what RFC 8785 section 3.2.2.2 asks to escape, and nothing else
_encode = json.encoder.encode_basestring

_MEMO = 50_000
_MAX_SAFE = 2**53 - 1


class _Quoted(dict[str | None, str]):
    """Text -> JSON string, remembered: pools, nodes, namespaces and actors come again and again."""

    def __init__(self, kept: Mapping[str | None, str] = MappingProxyType({})) -> None:
        super().__init__(kept)
        self.kept = kept

    def __missing__(self, text: str | None) -> str:
        if text is None:
            return "null"
        if len(self) >= _MEMO:
            self.clear()
            self.update(self.kept)
        quoted = self[text] = _encode(text)
        return quoted


_quoted = _Quoted()

# The same for fields as PostgreSQL's COPY writes them: its mark for null is two characters, which no other field
# can be, since a backslash of a value comes doubled (and a line that has one takes the slow road).
COPY_NULL = r"\N"
_copied = _Quoted({COPY_NULL: "null"})
_copied_attachment = _Quoted({COPY_NULL: "null", "": "null"})


def leaf(event: Event) -> bytes:
    """The canonical form of one event. ValueError for a text that is not Unicode or a number past 2**53."""
    owner, at = event.owner, event.attachment
    return leaf_of(
        event.seq,
        rfc3339(event.at),
        event.kind,
        event.pool,
        event.ip,
        event.version,
        event.state,
        owner.namespace,
        owner.pod,
        owner.uid,
        at.container_id,
        at.if_name,
        at.network,
        event.node,
        rfc3339(event.until) if event.until else None,
        event.reason,
        event.actor,
        event.spec,
    )


def leaf_of(
    seq: int,
    at: str,
    kind: str,
    pool: str,
    ip: str | None,
    version: int,
    state: str | None,
    namespace: str | None,
    pod: str | None,
    uid: str | None,
    container_id: str | None,
    if_name: str | None,
    network: str | None,
    node: str | None,
    until: str | None,
    reason: str | None,
    actor: str | None,
    spec: Mapping[str, Any] | None = None,
) -> bytes:
    """The same from a row's columns as text, so that sealing builds no objects. Empty attachment texts are null."""
    if seq > _MAX_SAFE or version > _MAX_SAFE:
        raise ValueError(f"event {seq}: a number past 2**53 has no canonical form")
    q = _quoted
    tail = ""
    if spec is not None:
        import rfc8785

        tail = f'"spec":{rfc8785.dumps(dict(spec)).decode()},'
    return (
        f'{{"actor":{q[actor]},"at":"{at}","containerID":{_encode(container_id) if container_id else "null"},'
        f'"ifName":{q[if_name or None]},"ip":{q[ip]},"kind":"{kind}",'
        f'"namespace":{q[namespace]},"network":{q[network or None]},"node":{q[node]},'
        f'"pod":{"null" if pod is None else _encode(pod)},'
        f'"podUID":{"null" if uid is None else _encode(uid)},"pool":{q[pool]},'
        f'"reason":{q[reason]},"seq":{seq},{tail}"state":{q[state]},'
        f'"until":{q[until]},"version":{version}}}'
    ).encode()


def leaf_of_copy(fields: Sequence[str]) -> bytes:
    """The same from a line of COPY without escapes and without ``spec``: nothing is made but the leaf."""
    (seq, at, kind, pool, ip, version, state, namespace, pod, uid, container, if_name, network, node, until, reason,
     actor) = fields[:17]  # fmt: skip
    q, a = _copied, _copied_attachment
    return (
        f'{{"actor":{q[actor]},"at":"{at}","containerID":{a[container] if container in a else _encode(container)},'
        f'"ifName":{a[if_name]},"ip":{"null" if ip == COPY_NULL else _encode(ip)},"kind":"{kind}",'
        f'"namespace":{q[namespace]},"network":{a[network]},"node":{q[node]},'
        f'"pod":{"null" if pod == COPY_NULL else _encode(pod)},'
        f'"podUID":{"null" if uid == COPY_NULL else _encode(uid)},"pool":{q[pool]},'
        f'"reason":{q[reason]},"seq":{seq},"state":{q[state]},'
        f'"until":{"null" if until == COPY_NULL else _encode(until)},"version":{version}}}'
    ).encode()
