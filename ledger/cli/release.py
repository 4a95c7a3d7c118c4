"""``release``: take an address back by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import ANY_POD, IP, ask_reason

if TYPE_CHECKING:
    from ledger.events import Event


@click.command()
@click.argument("ips", metavar="[IP]...", type=IP, nargs=-1)
@click.option("--name", metavar="NAME", help="What an owner that is no pod has, all of it.")
@click.option("--pod", type=ANY_POD, help="What a pod has, all of it.")
@click.option("--pool", metavar="NAME", help="In this pool, where several have the address.")
@click.option(
    "--reason",
    callback=ask_reason,
    help="Why, in words, for those who read the ledger later. Asked for on a terminal, else required.",
)
@everywhere
def command(
    invocation: Invocation,
    /,
    ips: tuple[str, ...],
    name: str | None,
    pod: tuple[str, str] | None,
    pool: str | None,
    reason: str,
) -> int:
    """Take addresses back by hand: allocated or held ones. They are free then, or cool first where the pool says so.

    This asks nobody whether the owner still uses the address: `explain` and `check` help to be sure.

    \b
    Examples:
      ipam-ledger release 10.19.120.9 --reason 'edge-router was taken down'
      ipam-ledger release --pod default/web-0 --reason 'its node burned'

    Exit status: 0 released, 1 nobody holds it or it is unknown, 2 wrong usage.
    """
    from ledger.errors import NotHeld
    from ledger.store import history

    if sum((bool(ips), name is not None, pod is not None)) != 1:
        raise click.UsageError("say what: addresses, or --name, or --pod")
    if pool is not None and not ips:
        raise click.UsageError("--pool goes with addresses")
    events: list[Event] = []
    try:
        with invocation.book() as book:
            for ip in ips:
                events.append(book.release_ip(ip, pool=pool, reason=reason))
            if not ips:
                owner = "/".join(pod) if pod else str(name)
                with book.database.read() as tx:
                    attachments = dict.fromkeys(row.attachment for _, row in history.rows_of_owner(tx, owner))
                # By attachment, not by address: another's that came meanwhile is left alone.
                for found in book.release_many(list(attachments), reason=reason):
                    events += found
                if not events:
                    who = owner if pod else f"owner {owner!r}"
                    raise NotHeld(f"{who} has no address", owner=owner)
    finally:  # what was released is told, also where the next one is refused
        if events:
            _tell(invocation, events)
    return 0


def _tell(invocation: Invocation, events: list[Event]) -> None:
    from ledger.audit import who_is
    from ledger.cli.events import COLUMNS, FIELDS
    from ledger.cli.output import printable
    from ledger.cli.times import shown

    if not invocation.human:
        invocation.printer.rows([event.to_json() for event in events], COLUMNS, fields=FIELDS)
        return
    for event in events:
        until = f", cooling until {shown(event.until)}" if event.until else ""
        text = f"{event.ip} of pool {event.pool!r} released from {who_is(event)}{until}"
        invocation.printer.line(printable(text))
