"""Moments as people write them: RFC 3339 with an offset, or relative to now. Read exactly, shown so that they can be pasted back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_RELATIVE: Final = re.compile(r"-((?:\d+(?:\.\d+)?[wdhms])+)", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([wdhms])", re.ASCII)
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)([.,]\d+)?\s?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_WITHOUT_OFFSET: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
HOW: Final = (
    "write it as 2026-11-24T14:05:00+01:00 (RFC 3339 with an offset), or relative as -2h, -7d, -1d12h, now"
)


def parse_time(text: str, now: datetime) -> datetime:
    """An aware moment in UTC. Raises ValueError with words that say what to write instead.

    A day is 24 hours, also across a change of the clocks. Digits below a microsecond are cut off, so that a moment never
    moves past an event.
    """
    text = text.strip()
    if text == "now":
        return now
    if relative := _RELATIVE.fullmatch(text):
        try:
            ago = sum((float(n) * _UNITS[unit] for n, unit in _PART.findall(relative[1])), timedelta())
            return now - ago
        except OverflowError:
            raise ValueError(f"{text!r} is before the year 1") from None
    if re.fullmatch(r"\+?(\d+(\.\d+)?[wdhms])+", text):
        raise ValueError(f"{text!r} is no moment: write -{text.lstrip('+')} for that long ago")
    if full := _RFC3339.fullmatch(text):
        day, clock, fraction, offset = full.groups()
        if offset[1:3] > "23" or offset[4:] > "59":
            raise ValueError(f"{text!r} is no moment: an offset goes from -23:59 to +23:59")
        try:
            return datetime.fromisoformat(
                f"{day}T{clock}{_microseconds(fraction)}{'+00:00' if offset in 'Zz' else offset}"
            ).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{text!r} is no moment: {error}") from None
    if bare := _WITHOUT_OFFSET.fullmatch(text):
        raise ValueError(_say_offset(text, *bare.groups()))
    raise ValueError(f"{text!r} is no moment: {HOW}")


def _microseconds(fraction: str | None) -> str:
    return "." + fraction[1:7].ljust(6, "0") if fraction else ""


def _say_offset(
    text: str, day: str, minutes: str | None, seconds: str | None, fraction: str | None, offset: str | None
) -> str:
    """What to write for a local time: its offset here, or both where the clocks were set back."""
    clock = f"{minutes or '00:00'}{seconds or ':00'}{_microseconds(fraction)}"
    if offset:
        tidy = offset.upper() if offset in "Zz" else f"{offset[:3]}:{offset[-2:]}"
        return f"{text!r} is no full RFC 3339 time: write {day}T{clock}{tidy}"
    try:
        local = datetime.fromisoformat(f"{day}T{clock}")
        there = [local.replace(fold=fold).astimezone() for fold in (0, 1)]
        there = [moment for moment in there if moment.replace(tzinfo=None) == local]
    except (ValueError, OverflowError) as error:
        return f"{text!r} is no moment: {error}"
    if not there:
        return f"{text!r} has no offset, and the clocks here were set forward past it: write {day}T{clock}Z for UTC"
    if all(not moment.utcoffset() for moment in there):
        return f"{text!r} has no offset: write {day}T{clock}Z (the time here is UTC)"
    words = " or ".join(dict.fromkeys(moment.isoformat() for moment in there))
    return f"{text!r} has no offset: write {words} for the time here, or {day}T{clock}Z for UTC"


class Time(click.ParamType):  # type: ignore[type-arg]
    """A moment on the command line."""

    name = "time"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value, datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Past(Time):
    """A moment that is asked about: one that is yet to come gets the answer of now, and a word about it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        moment = super().convert(value, param, ctx)
        if moment > datetime.now(UTC) and not (ctx and ctx.resilient_parsing):
            click.echo(f"Warning: {value} is yet to come; this is how it stands now", err=True)
        return moment


def shown(moment: datetime | str | None) -> str:
    """A moment for people: local time with its offset, to the microsecond where it has one; it can be pasted back."""
    if moment is None:
        return ""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    try:
        text = moment.astimezone().isoformat()
    except OverflowError:
        text = moment.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
