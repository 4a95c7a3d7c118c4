"""Objects out of what kubectl or crictl printed: JSON of any sensible size, or YAML as ``ledger.manifest`` takes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ledger import manifest
from ledger.errors import InvalidInput, InvalidPool

MAX_BYTES: Final = 128 * 1024 * 1024
"""A list of 65,000 of whereabouts' reservations is about 50 MB."""


def read_documents(raw: bytes, source: str) -> list[object]:
    """Every document of the text. Raises InvalidInput, naming ``source``, if it cannot be read to its end."""
    if len(raw) > MAX_BYTES:
        raise InvalidInput(
            source, f"{len(raw)} bytes", f"is larger than {MAX_BYTES} bytes; write several files"
        )
    try:
        text = raw.decode(json.detect_encoding(raw))  # kubectl's output in PowerShell is UTF-16
    except UnicodeDecodeError as error:
        raise InvalidInput(source, raw[:20], f"is no text: {error.reason} at byte {error.start}") from error
    try:
        return list(_json(text, source))
    except json.JSONDecodeError as error:
        if len(raw) <= manifest.MAX_BYTES:
            return _yaml(text, source)
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidInput(source, text[:40], f"is no JSON, or was cut: {error.msg} ({where})") from error
    except RecursionError as error:
        raise InvalidInput(source, text[:40], "is nested too deep") from error


def open_lists(documents: Iterable[object], source: str) -> Iterator[tuple[str, object]]:
    """Each object with the words that say where it stands; a List of any kind is opened."""
    for number, document in enumerate(documents, start=1):
        place = f"{source} (document {number})" if number > 1 else source
        if not isinstance(document, dict):
            yield place, document
            continue
        kind = document.get("kind")
        items = document.get("items")
        if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list):
            yield place, document
            continue
        missing = {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")}
        for at, item in enumerate(items):
            typed = kind != "List" and isinstance(item, dict)  # a typed list may leave them out of its items
            yield f"{place} items[{at}]", missing | item if typed else item


def _json(text: str, source: str) -> Iterator[object]:
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: _once(pairs, source))
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise InvalidInput(source, text[at : at + 40], "holds a number that is too long") from error
        yield document


def _yaml(text: str, source: str) -> list[object]:
    try:
        return [document for _, document in manifest.read_objects(text, source)]
    except InvalidPool as error:  # it is no pool that is wrong, but the file
        raise InvalidInput(error.field, error.value, error.why) from error


def _once(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in out if keys.count(key) > 1)
        raise InvalidInput(source, twice, "a key comes twice in one object")
    return out
