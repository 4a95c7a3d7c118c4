"""One line of an export: an event as its leaf, and back into the columns of a row. Pure, and fast where lines are plain."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from ledger.canonical import leaf_of
from ledger.events import Kind, State
from ledger.store.stream import Row

SCHEMA = 1
"""The shape of events that this program writes. An older one is upcast at read: see ``UPCAST``."""

UPCAST: dict[int, Any] = {}
"""Schema -> a function from an event (as a dict) of that schema to the next. None is needed yet: 1 is the first."""

_KINDS = frozenset(str(kind) for kind in Kind)
_STATES = frozenset(str(state) for state in State)
_FIELDS = (
    "seq", "at", "kind", "pool", "ip", "version", "state", "namespace", "pod", "podUID", "containerID", "ifName", "network",
    "node", "until", "reason", "actor",
)  # fmt: skip
_KEYS = frozenset(_FIELDS)


class Parsed(NamedTuple):
    """An event of an export. ``plain``: no field needs escaping anywhere. ``row``: as :mod:`ledger.store.stream` has them."""

    row: Row
    data: bytes
    plain: bool


def parse(data: bytes) -> Parsed:
    """A line without its newline. ValueError says what is wrong with it."""
    line = data.decode()
    if "\\" not in line and line.count('"') == 62 and line.isprintable():
        found = _plain(line)
        if found is not None:
            return Parsed(found, data, True)
    return Parsed(_any(line, data), data, False)


def _plain(line: str) -> Row | None:
    """The common event of an address that is not cooling: every field is text without escapes, at a fixed place."""
    p = line.split('"')
    actor, at, container, if_name, ip, kind, namespace, network, node, pod, uid, pool, reason = p[3:52:4]
    seq, state, version = p[54][1:-1], p[57], p[62][1:-1]
    if line != (
        f'{{"actor":"{actor}","at":"{at}","containerID":"{container}","ifName":"{if_name}","ip":"{ip}","kind":"{kind}",'
        f'"namespace":"{namespace}","network":"{network}","node":"{node}","pod":"{pod}","podUID":"{uid}","pool":"{pool}",'
        f'"reason":"{reason}","seq":{seq},"state":"{state}","until":null,"version":{version}}}'
    ):
        return None
    if not (seq.isdigit() and version.isdigit() and container and if_name and network) or p[53] != "seq":
        return None
    if seq[0] == "0" or version[0] == "0" or kind not in _KINDS or state not in _STATES:
        return None
    _moment(at)
    return (
        int(seq), at, kind, pool, ip, int(version), state, namespace, pod, uid, container, if_name, network, node, None,
        reason, actor, None, 0,
    )  # fmt: skip


def _any(line: str, data: bytes) -> Row:
    """Any event; it must be written exactly as we write it."""
    raw = json.loads(line)
    if not isinstance(raw, dict) or not raw.keys() - {"spec"} == _KEYS:
        raise ValueError("its fields are not those of an event")
    texts = [raw[name] for name in _FIELDS if name not in ("seq", "version")]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError("a field is not text")
    for name in ("seq", "version"):
        if type(raw[name]) is not int or raw[name] < 1:
            raise ValueError(f"{name} is not a number from 1")
    if raw["kind"] not in _KINDS or (raw["state"] is not None and raw["state"] not in _STATES):
        raise ValueError(f"{raw['kind']}, {raw['state']}: not a kind and a state")
    if raw["pool"] is None:
        raise ValueError("it names no pool")
    if (raw["ip"] is None) != (raw["state"] is None) or (raw["ip"] is None) != ("spec" in raw):
        raise ValueError("it is neither an address's nor a pool's")
    _moment(raw["at"])
    if raw["until"] is not None:
        _moment(raw["until"])
    row = (*(raw[name] for name in _FIELDS), raw.get("spec"), 0)
    if any("\0" in text for text in texts if text):
        raise ValueError("a field holds a NUL, which no database takes")
    if leaf_of(*row[:18]) != data:
        raise ValueError("it is not in canonical form")
    return row


_seconds: set[str] = set()


def _moment(text: str) -> None:
    """RFC 3339 as we write it. ValueError."""
    second, fraction = text[:20], text[20:26]
    if len(text) != 27 or text[26] != "Z" or not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"{text!r} is not a time as a ledger writes it")
    if second not in _seconds:  # events come in the order of their times, many to a second
        if text[10] != "T" or text[19] != ".":
            raise ValueError(f"{text!r} is not a time as a ledger writes it")
        datetime.fromisoformat(text)
        if len(_seconds) > 10_000:
            _seconds.clear()
        _seconds.add(second)
