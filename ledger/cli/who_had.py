"""``who-had``: who holds, or held, an address."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import IP, PAST

if TYPE_CHECKING:
    from ledger.cli.output import Printer
    from ledger.events import Event, Holding


@click.command()
@click.argument("ip", type=IP)
@click.option(
    "--at", type=PAST, help="The moment; at the very instant of an event, its new state counts. Default: now."
)
@click.option(
    "--pool", metavar="NAME", help="Only in this pool, where several address spaces have the address."
)
@everywhere
def command(invocation: Invocation, /, ip: str, at: datetime | None, pool: str | None) -> int:
    """Say who holds an address, or held it at a moment.

    Somebody holds an address from the event that gave it until, but not including, the next event of that address. A
    pod that was relaunched begins a new holding. An address that is held or cooling is nobody's (it is kept for
    somebody): `explain` tells about that.

    With -o json: one holding with `from` and `until` (null while it lasts), or null for nobody; a list only where
    several address spaces have the address and more than one owner had it. With -o jsonl: one a line.

    \b
    Examples:
      ipam-ledger who-had 10.19.120.7
      ipam-ledger who-had 10.19.120.7 --at 2026-11-24T14:05:00+01:00
      ipam-ledger who-had 10.19.120.7 --at -2h -o json

    Exit status: 0 answered (nobody is an answer), 1 no pool of this ledger (or not that one) ever had the address, 2 wrong usage.
    """
    from ledger import audit
    from ledger.events import State

    with invocation.reading() as database:
        found = audit.who_had(database, ip, at, pool=pool)
        kept = [] if found else audit.states(database, ip, at, pool=pool)
    printer = invocation.printer
    if invocation.human:
        for holding in found:
            _tell(printer, holding)
        if not found:
            printer.line(f"nobody {'had' if at else 'has'} {ip}")
            for event in kept:
                if event.state is not State.FREE:
                    _tell_kept(printer, event, past=at is not None)
        return 0
    rows = [holding.to_json() for holding in found]
    if invocation.output in ("json", "yaml") and len(rows) < 2:
        printer.one(rows[0] if rows else None)
    else:
        printer.rows(rows, (), fields=_FIELDS)
    return 0


_FIELDS = (
    "pool", "ip", "from", "until", "namespace", "pod", "podUID", "containerID", "ifName", "network", "node", "reason",
    "actor", "seq", "kind", "version", "state",
)  # fmt: skip


def _tell(printer: Printer, holding: Holding) -> None:
    from ledger.audit import who_is
    from ledger.cli.output import printable
    from ledger.cli.times import shown

    event = holding.event
    verb = "has" if holding.until is None else "had"
    span = (
        f"since {shown(holding.since)}"
        if holding.until is None
        else f"from {shown(holding.since)} until {shown(holding.until)}"
    )
    printer.line(printable(f"{who_is(event)} {verb} {event.ip} of pool {event.pool!r} {span}"))
    facts = {
        "uid": event.owner.uid,
        "container": event.attachment.container_id,
        "interface": event.attachment.if_name,
        "network": event.attachment.network,
        "node": event.node,
        "reason": event.reason,
        "written by": event.actor,
        "event": event.seq,
    }
    for name, value in facts.items():
        if value:
            printer.line(f"  {name:<11}{printable(value)}")


def _tell_kept(printer: Printer, event: Event, *, past: bool) -> None:
    from ledger.audit import who_is
    from ledger.cli.output import printable
    from ledger.cli.times import shown

    until = f" until {shown(event.until)}" if event.until else ""
    how = "held" if event.state == "held" else "cooling, kept"
    verb = "was" if past else "is"
    text = f"  in pool {event.pool!r} it {verb} {how} for {who_is(event)} since {shown(event.at)}{until}"
    printer.line(printable(text))
