"""Words on the command line that are checked before anything is opened: an address, a pod, a key=value."""

from __future__ import annotations

from typing import Any, Final

import click

from ledger.cli.times import Past, Time

TIME = Time()
PAST = Past()

MOST: Final = 10**18
"""More than any ledger holds; beyond some 9 × 10¹⁸ no database takes the number."""


class Ip(click.ParamType):  # type: ignore[type-arg]
    """An address, in its canonical spelling."""

    name = "ip"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ledger.addresses import canonical
        from ledger.errors import InvalidInput

        try:
            return canonical(value, "ip")
        except InvalidInput as error:
            self.fail(f"{value!r} {error.why}", param, ctx)


class Pod(click.ParamType):  # type: ignore[type-arg]
    """``namespace/name``, as Kubernetes gives names. ``loose``: as a runtime may have given them, for what the ledger may hold."""

    name = "ns/name"

    def __init__(self, *, loose: bool = False) -> None:
        self._loose = loose

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        from ledger.events import storable
        from ledger.outside import LABEL, is_subdomain

        if isinstance(value, tuple):
            return value
        namespace, _, pod = value.partition("/")
        if self._loose:
            good = all(text and "/" not in text and storable(text) for text in (namespace, pod))
        else:
            good = LABEL.fullmatch(namespace) is not None and is_subdomain(pod)
        if not good:
            self.fail(f"{value!r} is no pod: write NAMESPACE/NAME, as default/web-0", param, ctx)
        return namespace, pod


class Count(click.IntRange):
    """How many at most; more than there can be is all."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        count: int = super().convert(value, param, ctx)
        return min(count, MOST)


class Label(click.ParamType):  # type: ignore[type-arg]
    """``key=value``."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is no label: write KEY=VALUE", param, ctx)
        return key, text


IP = Ip()
POD = Pod()
ANY_POD = Pod(loose=True)
LABEL = Label()


def ask_reason(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """What a person does by hand needs a reason in words: asked for on a terminal, else required."""
    import sys

    if value is None and not ctx.resilient_parsing:
        if not sys.stdin.isatty():
            raise click.MissingParameter(ctx=ctx, param=param)
        value = click.prompt("Reason", err=True)
    text = (value or "").strip()
    if not text and not ctx.resilient_parsing:
        raise click.BadParameter(
            "is empty: say why, for those who read the ledger later", ctx=ctx, param=param
        )
    return text
