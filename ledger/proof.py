"""Proofs that stand alone: an event is in the ledger, or one checkpoint extends another. Pure.

A proof is one JSON object, checked offline with a public key that the reader has from elsewhere::

    {"format": "ipam-ledger/inclusion/v1", "event": {…}, "index": 41, "path": ["<base64>", …], "checkpoint": "<note>"}
    {"format": "ipam-ledger/consistency/v1", "old": "<note>", "new": "<note>", "path": ["<base64>", …]}

``index`` is the entry's place in the tree, from 0: commit order, so not always ``seq - 1``. The leaf is the canonical
form of ``event`` (ledger.canonical). A proof is somebody else's input: nothing in it is believed before it is checked.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.canonical import leaf
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.errors import InvalidInput
from ledger.events import Event, from_json
from ledger.merkle import HASH, leaf_hash, verify_consistency, verify_inclusion
from ledger.note import VerifierKey, strict_base64

INCLUSION = "ipam-ledger/inclusion/v1"
CONSISTENCY = "ipam-ledger/consistency/v1"
MAX_PROOF = 4_000_000  # bytes; a pool's spec may be large, a path is at most 64 hashes
_MAX_PATH = 64


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves, for people (``sentence``) and for programs."""

    sentence: str
    checkpoint: Checkpoint
    event: Event | None = None
    index: int | None = None
    old: Checkpoint | None = None

    def to_json(self) -> dict[str, Any]:
        head = self.checkpoint
        out: dict[str, Any] = {
            "proven": True,
            "sentence": self.sentence,
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
        }
        if self.event is not None:
            out |= {"index": self.index, "event": self.event.to_json()}
        if self.old is not None:
            out |= {"oldSize": self.old.size, "oldRoot": self.old.root.hex()}
        return out


def inclusion_document(event: Event, index: int, path: Sequence[bytes], checkpoint: str) -> dict[str, Any]:
    return {
        "format": INCLUSION,
        "event": event.to_json(),
        "index": index,
        "path": [b64encode(h).decode() for h in path],
        "checkpoint": checkpoint,
    }


def consistency_document(old: str, new: str, path: Sequence[bytes]) -> dict[str, Any]:
    return {"format": CONSISTENCY, "old": old, "new": new, "path": [b64encode(h).decode() for h in path]}


def verify_proof(document: str | bytes, key: VerifierKey) -> Proven:
    """What ``document`` proves to somebody who trusts ``key``.

    Raises InvalidInput for what is no proof, NotProven for one that does not hold.
    """
    raw = _parse(document)
    kind = raw.get("format")
    if kind == INCLUSION:
        return _inclusion(raw, key)
    if kind == CONSISTENCY:
        return _consistency(raw, key)
    raise InvalidInput("format", kind, f"must be {INCLUSION} or {CONSISTENCY}")


def _inclusion(raw: Mapping[str, Any], key: VerifierKey) -> Proven:
    _only(raw, "format", "event", "index", "path", "checkpoint")
    event = _event(_take(raw, "event", dict))
    index = _take(raw, "index", int)
    path = _path(raw)
    checkpoint = open_checkpoint(_take(raw, "checkpoint", str), key)
    verify_inclusion(leaf_hash(leaf(event)), index, checkpoint.size, path, checkpoint.root)
    return Proven(_say_inclusion(event, index, checkpoint, key), checkpoint, event, index)


def _consistency(raw: Mapping[str, Any], key: VerifierKey) -> Proven:
    _only(raw, "format", "old", "new", "path")
    path = _path(raw)
    old = open_checkpoint(_take(raw, "old", str), key)
    new = open_checkpoint(_take(raw, "new", str), key)
    verify_consistency(old.size, new.size, path, old.root, new.root)
    sentence = (
        f"The ledger {new.origin} at {new.size:,} entries begins with exactly the {old.size:,} entries that the key "
        f"{key.id.hex()} had signed before: nothing that was sealed then was changed, removed or reordered since."
    )
    return Proven(sentence, new, old=old)


def _say_inclusion(event: Event, index: int, checkpoint: Checkpoint, key: VerifierKey) -> str:
    who = ""
    if event.owner.pod:
        who = f" for {event.owner.namespace + '/' if event.owner.namespace else ''}{event.owner.pod}"
    elif event.attachment.container_id:
        who = f" for {event.attachment.container_id}"
    what = f"{event.ip} of pool {event.pool}" if event.ip else f"pool {event.pool}"
    at = event.to_json()["at"]
    return (
        f"Event {event.seq} ({event.kind} {what}{who} at {at}) is entry {index} of the ledger {checkpoint.origin}, as the "
        f"key {key.id.hex()} signed it at {checkpoint.size:,} entries: the ledger held exactly this event by then. "
        f"That whoever wrote the event told the truth, a proof cannot show."
    )


def _parse(document: str | bytes) -> dict[str, Any]:
    if len(document) > MAX_PROOF:
        raise InvalidInput("proof", document[:40], f"longer than {MAX_PROOF} bytes")
    try:
        raw = json.loads(document, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidInput("proof", document[:40], "nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidInput("proof", document[-40:], f"not JSON, or cut: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidInput("proof", type(raw).__name__, "must be a JSON object")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that comes twice could be read one way here and another way elsewhere."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key is repeated")
    return out


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _only(raw: Mapping[str, Any], *known: str) -> None:
    """A field that nothing vouches for must not travel under the seal."""
    if more := sorted(set(raw) - set(known)):
        raise InvalidInput(ascii(more[0])[1:-1], raw[more[0]], "is no field of a proof")


def _take(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    value = raw.get(name)
    if type(value) is not kind:  # exactly: True is an int to isinstance
        wanted = {dict: "an object", int: "a whole number", str: "text", list: "a list"}[kind]
        raise InvalidInput(name, value, f"must be {wanted}")
    return value


def _path(raw: Mapping[str, Any]) -> list[bytes]:
    texts = _take(raw, "path", list)
    if len(texts) > _MAX_PATH:
        raise InvalidInput("path", len(texts), f"more than {_MAX_PATH} hashes")
    out: list[bytes] = []
    for n, text in enumerate(texts):
        try:
            digest = strict_base64(text) if isinstance(text, str) else b""
        except ValueError:
            digest = b""
        if len(digest) != HASH:
            raise InvalidInput(f"path[{n}]", text, f"must be the base64 of a hash of {HASH} bytes")
        out.append(digest)
    return out


def _event(raw: dict[str, Any]) -> Event:
    """The event, if every field of it is what we would write ourselves."""
    try:
        event = from_json(raw)
        written = event.to_json()
        leaf(event)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InvalidInput(
            "event", raw, f"is not an event of a ledger ({type(error).__name__}: {error})"
        ) from None
    if written != raw or any(type(written[k]) is not type(raw[k]) for k in written):
        wrong = sorted(k for k in written.keys() | raw.keys() if written.get(k) != raw.get(k)) or ["event"]
        raise InvalidInput(
            f"event.{ascii(wrong[0])[1:-1]}", raw.get(wrong[0]), "is not as a ledger writes it"
        )
    return event
