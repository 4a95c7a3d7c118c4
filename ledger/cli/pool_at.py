"""``pool-at``: a whole pool at a moment."""

from __future__ import annotations

from datetime import datetime

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import PAST


@click.command()
@click.argument("pool")
@click.option(
    "--at",
    type=PAST,
    required=True,
    help="The moment; at the very instant of an event, its new state counts.",
)
@click.option("--free", is_flag=True, help="Also addresses that were free again, with their last owners.")
@everywhere
def command(invocation: Invocation, /, pool: str, at: datetime, free: bool) -> int:
    """Show a whole pool as it was at a moment: who had which address, what was held or cooling, and the counts.

    With -o json: one object with the counts and `addresses`, the newest event of each by then. With -o jsonl or csv: the
    addresses only.

    \b
    Examples:
      ipam-ledger pool-at ippool --at -2h
      ipam-ledger pool-at ippool --at 2026-11-24T14:05:00+01:00 -o csv

    Exit status: 0 answered, 1 there was no such pool at that moment, 2 wrong usage.
    """
    from ledger import audit
    from ledger.cli.events import FIELDS, owner
    from ledger.cli.output import Column
    from ledger.cli.times import shown

    with invocation.reading() as database:
        then = audit.pool_at(database, pool, at, free=free)
    printer = invocation.printer
    answer = then.to_json()
    if invocation.output in ("json", "yaml"):
        printer.one(answer)
        return 0
    columns = (
        Column("ADDRESS", "ip"),
        Column("STATE", "state"),
        Column("OWNER", owner),
        Column("NODE", "node"),
        Column("SINCE", lambda row: shown(row["at"])),
        Column("REASON", "reason"),
        Column("EVENT", "seq", right=True),
    )
    if invocation.human:
        printer.line(
            f"pool {pool!r} at {shown(at)}: capacity {answer['capacity']:,}, allocated {answer['allocated']:,}, "
            f"held {answer['held']:,}, cooling {answer['cooling']:,}, free {answer['free']:,}"
        )
    printer.rows(answer["addresses"], columns, fields=FIELDS)
    return 0
