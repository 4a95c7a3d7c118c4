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
    """``namespace/name``."""

    name = "ns/name"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        from ledger.outside import LABEL, is_subdomain

        if isinstance(value, tuple):
            return value
        namespace, slash, pod = value.partition("/")
        if not slash or not LABEL.fullmatch(namespace) or not is_subdomain(pod):
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
