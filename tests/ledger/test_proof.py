"""A proof is checked with the public key alone, says what it proves, and any damage to it is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.canonical import leaf
from ledger.checkpoint import Checkpoint
from ledger.errors import InvalidInput, LedgerError
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.merkle import NotProven
from ledger.note import SignerKey
from ledger.proof import MAX_PROOF, consistency_document, inclusion_document, verify_proof
from tests.ledger.test_merkle import Stored

KEY = SignerKey("ledger.example/1", bytes(range(32)))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def event(seq: int) -> Event:
    return Event(
        seq, NOON + timedelta(seconds=seq), Kind.ALLOCATED, "ippool", f"10.19.{seq // 256}.{seq % 256}", 1,
        State.ALLOCATED, Owner("default", f"web-{seq}", f"uid-{seq}"), Attachment(f"c{seq}", "eth0", "podnet"),
        "node1", None, "random", "agent/node1",
    )  # fmt: skip


POOL = Event(
    1, NOON, Kind.POOL_CREATED, "ippool", None, 1, None, Owner(), Attachment(""), None, None, None, "root",
    {"ipPoolSubs": [{"range": "10.19.0.0/16", "netmaskBits": 16}], "é": None},
)  # fmt: skip
EVENTS = [POOL, *(event(n) for n in range(2, 601))]
LOG = Stored()
LOG.append(b"".join(merkle.leaf_hash(leaf(e)) for e in EVENTS))


def head(size: int, key: SignerKey = KEY) -> str:
    return Checkpoint(key.name, size, merkle.root_at(size, LOG.read)).sign(key)


def prove(index: int, size: int = 600) -> dict[str, Any]:
    return inclusion_document(EVENTS[index], index, merkle.inclusion_path(index, size, LOG.read), head(size))


def consistency(old: int, new: int) -> dict[str, Any]:
    return consistency_document(head(old), head(new), merkle.consistency_path(old, new, LOG.read))


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 600), (41, 600), (599, 600), (255, 256), (256, 257)])
def test_an_event_is_proven_with_the_public_key_alone(index: int, size: int) -> None:
    proven = verify_proof(json.dumps(prove(index, size)), KEY.verifier)
    assert (proven.event, proven.index, proven.checkpoint.size) == (EVENTS[index], index, size)


def test_the_sentence_says_what_and_for_whom_and_how_far() -> None:
    said = verify_proof(json.dumps(prove(41)), KEY.verifier).sentence
    assert said.startswith(
        "Event 42 (Allocated 10.19.0.42 of pool ippool for default/web-42 at 2026-11-24T12:00:42.000000Z) is entry 41 "
        f"of the ledger ledger.example/1, as the key {KEY.verifier.id.hex()} signed it at 600 entries"
    )
    assert "Event 1 (PoolCreated pool ippool at" in verify_proof(json.dumps(prove(0)), KEY.verifier).sentence


@pytest.mark.parametrize(("old", "new"), [(0, 600), (1, 600), (255, 256), (256, 600), (300, 511), (600, 600)])
def test_a_checkpoint_is_shown_to_extend_an_older_one(old: int, new: int) -> None:
    proven = verify_proof(json.dumps(consistency(old, new)), KEY.verifier)
    assert proven.old is not None
    assert (proven.old.size, proven.checkpoint.size) == (old, new)
    assert f"begins with exactly the {old:,} entries" in proven.sentence


def altered(change: Callable[[dict[str, Any]], object]) -> str:
    document = prove(41)
    change(document)
    return json.dumps(document)


def setitem(*path: Any) -> Callable[[dict[str, Any]], None]:
    *walk, last, value = path

    def change(document: Any) -> None:
        for step in walk:
            document = document[step]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (setitem("event", "ip", "10.19.0.43"), "does not lead to the root"),
        (setitem("event", "at", "2026-11-24T12:00:43.000000Z"), "does not lead to the root"),
        (setitem("event", "podUID", None), "does not lead to the root"),
        (setitem("index", 40), "does not lead to the root"),
        (setitem("index", -1), "cannot be in a tree"),
        (setitem("index", 600), "cannot be in a tree"),
        (setitem("index", 10**400), "cannot be in a tree"),
        (lambda d: d["path"].pop(), "too short"),
        (lambda d: d["path"].append(d["path"][0]), "too long"),
        (lambda d: d["path"].reverse(), "does not lead to the root"),
        (setitem("checkpoint", head(599)), "root that was signed|too long|too short"),
        (lambda d: d.update(checkpoint=d["checkpoint"].replace("\n600\n", "\n601\n")), "is not valid"),
        (setitem("checkpoint", head(600, SignerKey("ledger.example/1", bytes(32)))), "no signature of a key that is known"),
        (setitem("checkpoint", head(600, SignerKey("elsewhere", bytes(range(32))))), "no signature of a key that is known"),
    ],
)  # fmt: skip
def test_a_changed_proof_does_not_hold(change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(NotProven, match=says):
        verify_proof(altered(change), KEY.verifier)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (setitem("format", "ipam-ledger/inclusion/v2"), "format"),
        (setitem("index", True), "index"),
        (setitem("index", 41.0), "index"),
        (setitem("index", "41"), "index"),
        (setitem("path", {}), "path"),
        (setitem("path", ["A" * 43 + "="] * 65), r"path(?!\[)"),
        (setitem("path", 0, 7), r"path\[0\]"),
        (setitem("path", 0, "AAAA"), r"path\[0\]"),
        (setitem("path", 0, "é" * 44), r"path\[0\]"),
        (setitem("checkpoint", None), "checkpoint"),
        (setitem("checkpoint", "nothing"), "note"),
        (setitem("event", []), "event"),
        (setitem("event", {}), "event"),
        (setitem("event", "seq", "42"), "event.seq"),
        (setitem("event", "seq", 42.0), "event"),
        (setitem("event", "version", 2**60), "event"),
        (setitem("event", "at", "2026-11-24T13:00:42.000000+01:00"), "event.at"),
        (setitem("event", "at", "yesterday"), "event"),
        (setitem("event", "at", 5), "event"),
        (setitem("event", "pool", ["ippool"]), "event"),
        (setitem("event", "spec", "text"), "event"),
        (setitem("event", "kind", "Vanished"), "event"),
        (setitem("event", "comment", "trust me"), "event.comment"),
        (setitem("note", "trust me"), "note"),
        (setitem("x\nProven. \x1b[2J", 1), r"x\\nProven. \\x1b\[2J: is no field"),
        (lambda d: d.pop("path"), "path"),
    ],
)
def test_what_is_no_proof_is_refused_by_the_field_that_is_wrong(
    change: Callable[[dict[str, Any]], object], field: str
) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}"):
        verify_proof(altered(change), KEY.verifier)


@pytest.mark.parametrize(
    "document",
    [
        "", b"", "[]", "null", "NaN", "{", b"\xff\xfe\x00", b"\x00" * 8, "[" * 200_000, '{"a":' * 100_000, "9" * 10_000,
        '{"format":"x","format":"x"}', '{"index": Infinity}', "x" * (MAX_PROOF + 1), '"\\ud800"',
    ],
)  # fmt: skip
def test_hostile_text_gets_a_clear_error(document: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        verify_proof(document, KEY.verifier)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (json.dumps(prove(41))[:-1] + ',"index":41}', "a key is repeated"),
        (json.dumps(prove(41)) + " " * MAX_PROOF, f"longer than {MAX_PROOF} bytes"),
        (json.dumps(consistency(300, 600) | {"note": "trust me"}), "is no field of a proof"),
    ],
    ids=["repeated", "long", "more"],
)
def test_what_would_prove_something_without_its_fault_is_refused(document: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        verify_proof(document, KEY.verifier)


def test_a_proof_cut_anywhere_is_refused() -> None:
    whole = json.dumps(prove(41))
    for end in range(len(whole)):
        with pytest.raises(InvalidInput):
            verify_proof(whole[:end], KEY.verifier)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_one_changed_bit_never_passes_unless_it_says_the_same(at: int, bit: int) -> None:
    whole = bytearray(json.dumps(prove(41), ensure_ascii=False).encode())
    whole[at % len(whole)] ^= 1 << bit
    try:
        proven = verify_proof(bytes(whole), KEY.verifier)
    except LedgerError:
        return
    assert (proven.event, proven.index, proven.checkpoint.size) == (EVENTS[41], 41, 600)


def test_a_rewritten_history_cannot_extend_the_old_checkpoint() -> None:
    forged = Stored()
    changed = [replace(e, node="node9") if e.seq == 7 else e for e in EVENTS]
    forged.append(b"".join(merkle.leaf_hash(leaf(e)) for e in changed))
    new = Checkpoint(KEY.name, 600, forged.tree.root()).sign(KEY)
    path = merkle.consistency_path(300, 600, forged.read)
    with pytest.raises(NotProven, match="does not lead to the root of the first 300"):
        verify_proof(json.dumps(consistency_document(head(300), new, path)), KEY.verifier)
    with pytest.raises(NotProven, match=r"history was rewritten|does not lead"):
        verify_proof(
            json.dumps(consistency_document(head(300), new, merkle.consistency_path(300, 600, LOG.read))),
            KEY.verifier,
        )


def test_a_checkpoint_cannot_extend_a_later_one() -> None:
    document = consistency(300, 600)
    document["old"], document["new"] = document["new"], document["old"]
    with pytest.raises(NotProven, match="cannot extend"):
        verify_proof(json.dumps(document), KEY.verifier)
