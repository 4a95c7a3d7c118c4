"""The lines of an export: events as their leaves, and back into the columns of rows. Pure.

A tile's lines are read together: as one JSON array, which must be what it is written as again. What that does not take is
read line by line, which says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Annotated, ClassVar

import msgspec

from ledger.canonical import MAX_SAFE, canonical
from ledger.events import Kind, State
from ledger.store.stream import ROW, Row

SCHEMA = 1
"""The shape of events that this program writes, and the first that there is: there is nothing to upcast yet."""

_FIELDS = ROW[:-1]
_KEYS = frozenset(_FIELDS)
_KINDS = frozenset(map(str, Kind))
_STATES = frozenset(map(str, State))
_TEXT: frozenset[type] = frozenset({str, type(None)})
_ATTACHMENT = ("containerID", "ifName", "network")
_take = itemgetter(*_FIELDS)

_Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE)]
_Name = Annotated[str, msgspec.Meta(min_length=1)] | None


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event of an address; the fields in the order in which RFC 8785 sorts them."""

    actor: str | None
    at: str
    containerID: _Name
    ifName: _Name
    ip: str
    kind: str
    namespace: str | None
    network: _Name
    node: str | None
    pod: str | None
    podUID: str | None
    pool: str
    reason: str | None
    seq: _Number
    state: str
    until: str | None
    version: _Number
    spec: ClassVar[None] = None


_decode = msgspec.json.Decoder(list[_Event]).decode
_encode = msgspec.json.Encoder().encode
_row = attrgetter(*ROW)


class NotAnEvent(ValueError):
    """The line of that index is not an event as a ledger writes it."""

    def __init__(self, index: int, why: object) -> None:
        super().__init__(str(why))
        self.index = index


def parse(lines: Sequence[bytes]) -> list[Row]:
    """Lines without their newlines -> rows as :mod:`ledger.store.stream` has them, without ``xid``. Raises NotAnEvent."""
    rows = _together(lines)
    return rows if rows is not None else [_alone(index, line) for index, line in enumerate(lines)]


def _together(lines: Sequence[bytes]) -> list[Row] | None:
    """Plain events of addresses; None if there is anything else among them."""
    array = b"[%b]" % b",".join(lines)
    if rb"\u0000" in array:
        return None
    try:
        events = _decode(array)
        if len(events) != len(lines) or _encode(events) != array:
            return None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not (
        _KINDS.issuperset([event.kind for event in events])
        and _STATES.issuperset([event.state for event in events])
        and _are_moments([event.at for event in events])
        and _are_moments([event.until for event in events if event.until is not None])
    ):
        return None
    return list(map(_row, events))


def _alone(index: int, line: bytes) -> Row:
    try:
        return _any(line)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent(index, error) from error


def _any(line: bytes) -> Row:
    """Any event; it must be written exactly as we write it."""
    raw = json.loads(line)
    if not isinstance(raw, dict) or not raw.keys() - {"spec"} == _KEYS:
        raise ValueError("its fields are not those of an event")
    texts = [raw[name] for name in _FIELDS if name not in ("seq", "version")]
    if not _TEXT.issuperset(map(type, texts)):
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
    for text in (raw["at"] or "", raw["until"]):
        if text is not None and not _are_moments([text]):
            raise ValueError(f"{text!r} is not a time as a ledger writes it")
    if any("\0" in text for text in texts if text):
        raise ValueError("a field holds a NUL, which no database takes")
    if any(raw[name] == "" for name in _ATTACHMENT) or canonical(raw) != line:
        raise ValueError("it is not in canonical form")
    return (*_take(raw), raw.get("spec"))


def _are_moments(texts: Sequence[str]) -> bool:
    """RFC 3339 as we write it: ``2026-11-24T10:00:00.123456Z``. Many come within one second."""
    if not texts:
        return True
    fractions = "".join([text[20:26] for text in texts])
    if not ({len(text) for text in texts} == {27} and {text[26] for text in texts} == {"Z"}):
        return False
    return fractions.isascii() and fractions.isdigit() and all(map(_is_second, {text[:20] for text in texts}))


def _is_second(text: str) -> bool:
    try:
        return text[19] == "." and datetime.fromisoformat(text[:19]).isoformat() == text[:19]
    except ValueError:
        return False
