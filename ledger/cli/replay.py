"""``replay --into URL``: rebuild another database from this ledger."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime

import click

from ledger.cli.everywhere import Invocation, actor, everywhere
from ledger.cli.params import TIME
from ledger.words import counted


@click.command()
@click.option(
    "--into", "target", required=True, metavar="URL", help="An empty database, SQLite or PostgreSQL."
)
@click.option(
    "--until", type=TIME, metavar="T", help="Only events up to this moment, and the state that it was."
)
@everywhere
def command(invocation: Invocation, /, target: str, until: datetime | None) -> int:
    """Rebuild another database from this ledger: the events, and the state that they make.

    The copy's fence is raised, for two ledgers must not give out the same addresses; `fence lift` makes it one that may.

    \b
    Examples:
      ipam-ledger replay --into sqlite:///copy.db
      ipam-ledger replay --into sqlite:///tuesday.db --until 2026-11-24T14:05:00+01:00

    Exit status: 0 replayed, 1 it cannot be, and why is said, 2 wrong usage or a database that is not empty.
    """
    from ledger.archive.transfer import replay_into
    from ledger.archive.writer import total
    from ledger.store import Database

    with closing(Database(target)) as into, invocation.database() as source:
        into.require_head()  # makes it; not before there is something to put there
        with invocation.progress("replaying", total(source)) as done:
            loaded = replay_into(source, into, until=until, actor=actor(), progress=done)
        answer = {"events": loaded.events, "root": loaded.root.hex(), "into": into.label}
        invocation.printer.one(
            answer, lambda: click.echo(f"Replayed {counted(loaded.events, 'event')} into {into.label}.")
        )
    return 0
