"""What a leaf is: the RFC 8785 canonical JSON of an event. Pure.

A leaf is ``Event.to_json()`` in canonical form, UTF-8: *every* field that interface.md shows, null where
there is none, and ``spec`` for pool events only. The position ``seq`` is in it; the database's ``xid`` is
not, for it means nothing after a dump and a restore. The place in the tree is commit order, not ``seq``.

An event's shape is flat and its keys are fixed, so the form is written directly, keys already in order;
a test holds it equal to the ``rfc8785`` package for any event. Only a pool's ``spec`` goes through that package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ledger.events import Event, rfc3339

# json's own C encoder escapes what RFC 8785 section 3.2.2.2 asks to escape, and nothing else
_encode = json.encoder.encode_basestring

_MEMO = 50_000
_MAX_SAFE = 2**53 - 1


class _Quoted(dict[str | None, str]):
    """Text -> JSON string, remembered: pools, nodes, namespaces and actors come again and again."""

    def __missing__(self, text: str | None) -> str:
        if text is None:
            return "null"
        if len(self) >= _MEMO:
            self.clear()
        quoted = self[text] = _encode(text)
        return quoted


_quoted = _Quoted()


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
