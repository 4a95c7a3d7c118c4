"""One field of what a runtime said: of the right type (else Refusal 6), and one that can be meant (else Refusal 7)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from cni.spec.words import Code, Refusal


def ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in text:
        raise ValueError("a zone is no part of an address")
    return ipaddress.ip_address(text)


def prefix(text: str) -> int:
    """The family of ``address/length``; host bits may be set, as Go's ParseCIDR lets them."""
    ip, slash, length = text.partition("/")
    found = ip_of(ip)
    if not slash or not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > found.max_prefixlen:
        raise ValueError(f"{text!r} is no prefix")
    return found.version


def address(text: str) -> str:
    """An IP address in its canonical form, without the prefix length that may follow it. Raises ValueError."""
    if "/" in text:
        prefix(text)
    return str(ip_of(text.partition("/")[0]))


def text(field: str, value: Any) -> str:
    """A string that can be stored and printed; "" for absent and null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        wrong(field, "a string", value)
    if not value.isprintable():  # NUL, lone surrogates, line breaks
        invalid(field, "is not printable text", value)
    return value


def secret(field: str, value: Any) -> str:
    """The same for what may hold a password: it is not shown."""
    try:
        return text(field, value)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{field}: must be a string of printable text") from None


def texts(field: str, value: Any) -> list[str]:
    return [text(f"{field}[{i}]", entry) for i, entry in enumerate(listed(field, value))]


def listed(field: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        wrong(field, "a list", value)
    return value


def mapped(field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        wrong(field, "an object", value)
    return value


def wrong(field: str, kind: str, value: Any) -> NoReturn:
    raise Refusal(Code.DECODING, f"{field}: must be {kind} (got {shown(value)})")


def invalid(field: str, why: str, value: Any) -> NoReturn:
    raise Refusal(Code.INVALID_CONFIG, f"{field}: {why} (got {shown(value)})")


def shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 120 else text[:117] + "..."
