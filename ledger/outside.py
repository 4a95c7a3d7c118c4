"""The small readers for data from outside: each takes a raw value and the path of its field. Pure.

Each raises InvalidPool, which names the path and shows the value, however large or odd it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ledger.errors import InvalidPool

MAX_DEPTH: Final = 32
"""Nesting of a pool's spec, unknown fields included; ours needs 4."""

LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label as Kubernetes reads RFC 1123."""

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def integer(raw: object, path: str, least: int, most: int) -> int:
    # True is an int to Python, and 22.0 equals 22; neither is what the API server takes
    if type(raw) is not int:
        raise InvalidPool(path, shown(raw), f"must be a whole number, {least} to {most}")
    if not least <= raw <= most:
        raise InvalidPool(path, raw, f"must be {least} to {most}")
    return raw


def entries(raw: object, path: str, most: int) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise InvalidPool(path, shown(raw), "must be a list")
    if len(raw) > most:
        raise InvalidPool(path, len(raw), f"holds more than {most} entries")
    return raw


def mapping(raw: object, path: str) -> Mapping[str, Any]:
    if raw is None:
        raise InvalidPool(path, None, "is missing")
    if not isinstance(raw, Mapping):
        raise InvalidPool(path, shown(raw), "must be a mapping")
    for key in raw:
        if not isinstance(key, str):
            raise InvalidPool(path, shown(key), "has a key that is not text")
    return raw


def plain(raw: object, path: str, depth: int = 0) -> Any:
    """A deep copy that JSON and both databases can hold: no NaN, no NUL, no half surrogates, no huge numbers."""
    if depth > MAX_DEPTH:
        raise InvalidPool(path, "…", f"is nested deeper than {MAX_DEPTH}")
    if isinstance(raw, Mapping):
        pairs = mapping(raw, path).items()
        return {plain(key, path): plain(value, f"{path}.{key[:253]}", depth + 1) for key, value in pairs}
    if isinstance(raw, list | tuple):
        return [plain(value, f"{path}[{number}]", depth + 1) for number, value in enumerate(raw)]
    if isinstance(raw, str):
        if "\0" in raw or raw != raw.encode("utf-8", "ignore").decode("utf-8"):
            raise InvalidPool(ascii(path)[1:-1], ascii(raw), "holds a character that no database stores")
        return raw
    if raw is None or isinstance(raw, bool):
        return raw
    if isinstance(raw, int) and -(1 << 63) <= raw < 1 << 63:
        return raw
    if isinstance(raw, float) and raw - raw == 0:  # neither infinite nor NaN
        return raw
    raise InvalidPool(path, shown(raw), "is nothing that JSON can hold")


def shown(raw: object) -> object:
    """The value for an error message: text and small numbers as they are, the rest in a few words."""
    if raw is None or isinstance(raw, bool | float):
        return raw
    if isinstance(raw, int):
        return raw if abs(raw) < 1 << 64 else f"a number of {raw.bit_length()} bits"
    if isinstance(raw, str):
        return raw if len(raw) <= 200 else raw[:200] + "…"
    return f"{type(raw).__name__} of {len(raw)}" if isinstance(raw, list | dict) else type(raw).__name__


def is_subdomain(name: object) -> bool:
    """Whether it is a name such as a pod's. Kubernetes bounds the whole (253), not each label as RFC 1123 does."""
    return isinstance(name, str) and len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None
