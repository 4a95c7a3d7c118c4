"""``tail``: the newest events; follow them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import Count

if TYPE_CHECKING:
    from ledger.events import Event
    from ledger.store import Database

EVERY = 0.5
"""Seconds between two looks while following: quick enough for eyes, and one cheap query."""


@click.command()
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what is written from now on, until interrupted."
)
@click.option(
    "-n",
    "count",
    type=Count(min=0),
    default=10,
    show_default=True,
    help="How many of the newest to begin with.",
)
@everywhere
def command(invocation: Invocation, /, follow: bool, count: int) -> int:
    """Show the newest events, oldest of them first; with -f, follow the ledger.

    Following misses nothing, however late a slow transaction commits; an event is shown once nothing can come before it any
    more. While the database is away it waits, and says so. With -f and -o json it prints one object after another.

    \b
    Examples:
      ipam-ledger tail -n 20
      ipam-ledger tail -f
      ipam-ledger tail -f -n 0 -o jsonl | jq 'select(.kind == "Reclaimed")'

    Exit status: 0 answered (no event is an answer), 1 the ledger cannot be read, 2 wrong usage.
    """
    from ledger.cli.events import COLUMNS, FIELDS

    with invocation.reading() as database:
        pages = ([event.to_json() for event in page] for page in newest(database, count, follow=follow))
        if follow:
            invocation.printer.stream(pages, COLUMNS, FIELDS)
        else:
            rows = (row for page in pages for row in page)
            invocation.printer.rows(
                rows, COLUMNS, fields=FIELDS, empty="the ledger is empty" if count else ""
            )
    return 0


def newest(database: Database, count: int, *, follow: bool) -> Iterator[list[Event]]:
    """The newest events, then (following) what comes, in commit order, in pages; an empty page where nothing came."""
    from ledger.errors import TryAgain
    from ledger.store import history, stream

    with database.read() as tx:
        page, cursor = history.last(tx, count)
    yield page
    shown = {event.seq for event in page}
    away = False
    while follow:
        try:
            with database.read() as tx:
                rows = stream.after(tx, cursor, history.PAGE)
        except TryAgain as error:
            if not away:
                click.echo(f"waiting: {error}", err=True)
            away = True
            time.sleep(4 * EVERY)
            continue
        away = False
        events = [stream.event_of(row) for row in rows]
        if rows:
            cursor = stream.cursor_of(rows[-1])
            # Only what the first page saw above the horizon can come again.
            yield [event for event in events if event.seq not in shown]
        if len(rows) < history.PAGE:
            sys.stdout.flush()
            time.sleep(EVERY)
