"""Commands by name: imported when called, listed without being imported. And the one place that ends a call."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from ledger.cli.everywhere import Options

Entry = tuple[str, str]
"""Where a command is (``module:attribute``), and its help in one line."""

BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended
INTERRUPTED = 130


class Group(click.Group):
    """Says of a command that is not there which one may have been meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            from difflib import get_close_matches

            options = [name for each in self.get_params(ctx) for name in each.opts]
            near = get_close_matches(args[0], names + options, n=2, cutoff=0.6)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


class Root(Group):
    """The whole command line. Errors of the ledger become a message and an exit status here, and nowhere else."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, Entry]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._sections = sections
        self._entries = {name: entry for part in sections.values() for name, entry in part.items()}

    # Names ----------------------------------------------------------------------------------------

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        try:
            return cast(click.Command, getattr(import_module(module), attribute))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise click.ClickException(f"{cmd_name!r} is not part of this installation: {error}") from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        given = Options.of(ctx).db
        if command is not None and given is not None and any("--db" in p.opts for p in command.params):
            rest = ["--db", given, *rest]  # a daemon has a --db of its own; what stands after its name wins
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self._entries))
        for title, part in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in part.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in self._entries.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    @staticmethod
    def show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"ipam-ledger {version('ipam-ledger')}")
            ctx.exit()

    # The end of a call ----------------------------------------------------------------------------

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        for stream in (sys.stdout, sys.stderr):
            with suppress(
                AttributeError, ValueError
            ):  # a character that the terminal cannot show is no crash
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        # Nothing that is imported is garbage: looking through it, most of all once more at the end, took a sixth of a command.
        gc.set_threshold(50_000)
        atexit.register(gc.freeze)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:
            status = INTERRUPTED
        except click.ClickException as error:
            error.show()
            status = error.exit_code
        except OSError as error:  # --help and --version answer before a command is invoked
            _hush()
            click.echo(f"Error: the answer cannot be written: {error.strerror}", err=True)
            status = 1
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # it may have been closed
                sys.stdout.flush()
        except Exception as error:
            lost = error.__cause__ if isinstance(error, click.ClickException) else error
            if isinstance(lost, OSError) and lost.filename is None:  # of the answer's own way out
                _hush()
                if lost.errno == errno.EPIPE:
                    ctx.exit(BROKEN_PIPE)
            refused = _refused(error, ctx)
            if refused is None:
                raise
            raise refused from error
        return result


def _hush() -> None:
    """Nothing more is said on a stdout that takes nothing, or the interpreter's own flush complains at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Refused(click.ClickException):
    """An error in front of a person, or of a program that asked for JSON."""

    def __init__(self, message: str, facts: Mapping[str, Any], *, code: int, machine: bool) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]
        self._facts = facts
        self._machine = machine

    def show(self, file: Any = None) -> None:
        if not self._machine:
            click.echo(f"Error: {self.message}", file=file or sys.stderr)
            return
        import json

        click.echo(
            json.dumps({"error": self.message, **self._facts}, default=str, ensure_ascii=False),
            file=file or sys.stderr,
        )


def _refused(error: Exception, ctx: click.Context) -> Refused | None:
    machine = Options.of(ctx).output in ("json", "jsonl")
    if isinstance(error, click.ClickException):  # click tells a person itself, with the usage
        if not machine or isinstance(error, click.exceptions.NoArgsIsHelpError):
            return None
        return Refused(error.format_message(), {}, code=error.exit_code, machine=machine)

    from ledger.errors import InvalidInput, InvalidPool, LedgerError

    if isinstance(error, OSError):  # that nobody has put into better words
        where = error.filename or "the answer cannot be written"
        return Refused(f"{where}: {error.strerror or error}", {}, code=1, machine=machine)
    if not isinstance(error, LedgerError):
        return None
    # A pool that is not valid is an answer about that pool; any other bad input is the caller's words.
    usage = isinstance(error, InvalidInput) and not isinstance(error, InvalidPool)
    return Refused(str(error), error.facts(), code=2 if usage else 1, machine=machine)
