"""``explain``: an address in sentences."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import IP


@click.command()
@click.argument("ip", type=IP)
@everywhere
def command(invocation: Invocation, /, ip: str) -> int:
    """Say in sentences what an address is now, since when and why, and what comes next.

    Where pools of several address spaces have the address, each tells its own; deleted pools come last.

    \b
    Examples:
      ipam-ledger explain 10.19.120.7
      ipam-ledger explain 10.19.120.7 -o json

    Exit status: 0 answered, 1 no pool of this ledger ever had the address, 2 wrong usage.
    """
    from ledger import audit
    from ledger.cli.output import printable
    from ledger.cli.times import shown

    with invocation.reading() as database:
        told = audit.explain(database, ip, datetime.now(UTC), moment=shown if invocation.human else _utc)
    printer = invocation.printer
    if invocation.human:
        for number, each in enumerate(told):
            if number:
                printer.line()
            for sentence in each.sentences:
                printer.line(printable(sentence))
    elif invocation.output in ("json", "yaml"):
        printer.one({"ip": ip, "pools": [each.to_json() for each in told]})
    else:
        rows = ({"ip": ip, "pool": each.pool, "sentence": text} for each in told for text in each.sentences)
        printer.rows(rows, ())
    return 0


def _utc(moment: datetime) -> str:
    from ledger.events import rfc3339

    return rfc3339(moment)
