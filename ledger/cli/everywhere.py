"""What every command takes (``--db``, ``-o``, ``--no-color``), before or after its name, and what it gets for it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import click

if TYPE_CHECKING:
    from ledger.book import Book
    from ledger.cli.output import Printer
    from ledger.store import Database

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json", "jsonl", "yaml", "csv")


class Options:
    """What was given so far in this call; the last word wins. ``db`` is None where nobody named one."""

    def __init__(self) -> None:
        self.db: str | None = None
        self.output = "table"
        self.color = True

    @classmethod
    def of(cls, ctx: click.Context) -> Options:
        return cast(Options, ctx.meta.setdefault("ipam-ledger.options", cls()))


def options(command: F) -> F:
    """Declare the options; their values are kept in ``Options``, not passed. For groups; commands take ``everywhere``."""
    return _database_options(
        click.option(
            "-o", "--output", type=click.Choice(FORMATS), expose_value=False, callback=_output,
            is_eager=True,  # errors in the words after it are told in this format, too
            help="How to print the answer. Default: table.",
        )(command)
    )  # fmt: skip


def everywhere(function: Callable[Concatenate[Invocation, P], R]) -> Callable[P, R]:
    """Make a function take the options and get an Invocation as its first argument."""
    return options(_with_invocation(function))


def everywhere_to_file(function: Callable[Concatenate[Invocation, P], R]) -> Callable[P, R]:
    """The same for a command that writes a file: its ``-o`` names that, and is passed as ``output``."""
    return _database_options(
        click.option(
            "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True), default="-", metavar="FILE",
            help="Where to write. Default: stdout.",
        )(_with_invocation(function))
    )  # fmt: skip


def daemon_database(command: F) -> F:
    """``--db`` as a daemon takes it, passed as ``db``; None: the default."""
    return click.option(
        "--db", metavar="URL", envvar="IPAM_LEDGER_DB", callback=_not_empty,
        help="The ledger. Default: the embedded SQLite one.",
    )(command)  # fmt: skip


def _with_invocation(function: Callable[Concatenate[Invocation, P], R]) -> Callable[P, R]:
    @functools.wraps(function)
    def call(*args: P.args, **more: P.kwargs) -> R:
        return function(Invocation(Options.of(click.get_current_context())), *args, **more)

    return call


def _database_options(command: F) -> F:
    for declare in (
        click.option("--no-color", is_flag=True, expose_value=False, callback=_no_color,
                     help="No colours (as NO_COLOR in the environment)."),
        click.option("--db", metavar="URL", expose_value=False, callback=_db,
                     help="The ledger, as an SQLAlchemy URL. Default: IPAM_LEDGER_DB, else the embedded SQLite one."),
    ):  # fmt: skip
        command = declare(command)
    return command


class Invocation:
    """One call of the command line: the database it is about, and how it answers."""

    def __init__(self, given: Options) -> None:
        self.output = given.output
        self.color = given.color
        self._db = given.db

    @property
    def human(self) -> bool:
        """Whether a person reads the answer (``-o table``), rather than a program."""
        return self.output == "table"

    @property
    def elsewhere(self) -> bool:
        """Whether this call named a ledger of its own, rather than to ask the one that this machine uses."""
        return self._db is not None

    @functools.cached_property
    def printer(self) -> Printer:
        from ledger.cli.output import Printer

        return Printer(self.output, color=self.color)

    @contextmanager
    def database(
        self, *, head: bool = True, create: bool = False, dry_run: bool = False
    ) -> Iterator[Database]:
        """The ledger. ``head``: only if its schema is this program's. ``create``: an SQLite file that is not there is made,
        for what has something to put there; anything else would act on a ledger that nobody meant. ``dry_run``: it is made
        elsewhere, and gone in the end.

        Raises SchemaMismatch, DatabaseAway, InvalidInput.
        """
        from ledger.settings import default_database_url

        url = self._db or default_database_url()
        with _opened(url, head=head, create=create, dry_run=dry_run) as database:
            yield database

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """The ledger for a question: the replica that IPAM_LEDGER_READ_DB names, unless --db was given."""
        from ledger.settings import reading_database_url

        with _opened(self._db or reading_database_url(), create=False) as database:
            yield database

    @contextmanager
    def book(self, *, create: bool = False, dry_run: bool = False) -> Iterator[Book]:
        """The book, for a person who writes in it by hand; ``create`` and ``dry_run`` as above."""
        from ledger.book import Book

        with self.database(create=create, dry_run=dry_run) as database:
            yield Book(database, actor=actor())

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal for what may take longer than a second; call the result with how much more is done."""
        if not sys.stderr.isatty():
            yield lambda more: None
            return
        from ledger.cli.progress import bar

        with bar(color=self.color) as progress:
            task = progress.add_task(what, total=total)
            yield lambda more: progress.update(task, advance=more)

    @contextmanager
    def steps(self, total: int) -> Iterator[Callable[[str], Callable[[int], None]]]:
        """The same for several steps: call the result as each begins, and what that gives with how much more is done in it."""
        if not sys.stderr.isatty():
            yield lambda name: lambda more: None
            return
        from ledger.cli.progress import Steps, bar

        with bar(color=self.color) as progress:
            yield Steps(progress, total).begin


def actor() -> str:
    """Who writes, for the ledger: ``cli/alice``; behind sudo, the person rather than root."""
    name = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    if not name:
        import getpass

        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            name = f"uid-{os.getuid()}"
    return f"cli/{name}"


@contextmanager
def _opened(url: str, *, head: bool = True, create: bool, dry_run: bool = False) -> Iterator[Database]:
    import logging

    from ledger.store import Database

    # What goes wrong comes as an exception. Its log tells an interrupt a second time, with a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    database = Database(url)
    if dry_run and database.missing:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder, _opened(f"sqlite:///{folder}/ledger.db", create=create) as empty:
            yield empty
        return
    try:
        if head:
            database.require_head(create=create)
        yield database
    finally:
        database.close()


def _not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == "":  # of a shell variable that is not set: what was meant is hardly the default
        raise click.BadParameter("is empty; leave it out for the default", ctx=ctx, param=param)
    return value


def _db(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if _not_empty(ctx, param, value) is not None:
        Options.of(ctx).db = value


def _output(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        Options.of(ctx).output = value


def _no_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        Options.of(ctx).color = False
        ctx.color = False
