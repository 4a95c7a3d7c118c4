"""``allocate``: give an address out by hand."""

from __future__ import annotations

import re
from typing import Any

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import IP, LABEL, POD, ask_reason

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
"""A name by hand stands where a container id does, so it follows the SPEC's rule for those."""


@click.command()
@click.argument("pools", metavar="POOL...", nargs=-1, required=True)
@click.option(
    "--name", metavar="NAME", help="The owner's name, where it is no pod: a router, a load balancer, a VM."
)
@click.option(
    "--pod", type=POD, help="The owner, where it is a pod: it gets this address when it is launched."
)
@click.option(
    "--ip", "ips", type=IP, multiple=True, help="This address (repeat for one of each family). Default: any."
)
@click.option(
    "--reason",
    callback=ask_reason,
    help="Why, in words, for those who read the ledger later. Asked for on a terminal, else required.",
)
@click.option(
    "--interface",
    metavar="NAME",
    help="The owner's interface: one that has several gets an address for each.  [default: eth0; with --name none]",
)
@click.option("--node", metavar="NAME", help="Where it is, for the record and for subs with a nodeSelector.")
@click.option(
    "--node-label", "labels", type=LABEL, multiple=True, help="A label of that node (repeat for more)."
)
@everywhere
def command(
    invocation: Invocation,
    /,
    pools: tuple[str, ...],
    name: str | None,
    pod: tuple[str, str] | None,
    ips: tuple[str, ...],
    reason: str,
    interface: str | None,
    node: str | None,
    labels: tuple[tuple[str, str], ...],
) -> int:
    """Give out one address of each family of a pool (of each of several pools), by hand.

    The owner is a --name for what is no pod, from which no sweep takes it (`release` does, and a full pool where evidence names
    it as ended); or a --pod that will get the address when it is launched. Asking again for the same owner gives the same answer and writes nothing.

    \b
    Examples:
      ipam-ledger allocate ippool --name edge-router --ip 10.19.120.9 --reason 'moved from the old range'
      ipam-ledger allocate ippool --pod default/web-0 --reason 'its address is in a firewall' -o json

    Exit status: 0 it has the address, 1 it cannot (taken, reserved, the pool is full or unknown), 2 wrong usage.
    """
    from ledger.adoption.found import interface as interface_name
    from ledger.claims import Claim, Node
    from ledger.cli.output import Column, printable
    from ledger.errors import AddressUnavailable
    from ledger.events import Attachment, Owner

    if (name is None) == (pod is None):
        raise click.UsageError("say who: either --name or --pod")
    if name is not None and not NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name!r} must be 1 to 253 letters, digits, dots, dashes and underscores, the first a letter or a digit",
            param_hint="--name",
        )
    if interface is not None:
        interface = interface_name(interface, "--interface")
    if pod is not None:
        # No runtime's container id has a slash, so this never stands in the way of one.
        owner, attachment = Owner(*pod), Attachment("/".join(pod), interface or "eth0", "")
    else:
        owner, attachment = Owner(None, name), Attachment(name or "", interface or "", "")
    claim = Claim(
        tuple(pools),
        owner,
        attachment,
        Node(node or None, labels=dict(labels) if labels else None),
        ips,
        reason,
    )
    with invocation.book() as book:
        allocations = book.allocate(claim)
    rows: list[dict[str, Any]] = [
        {
            "pool": each.pool,
            "ip": each.ip,
            "prefixLength": each.prefix_length,
            "gateway": each.gateway,
            "event": each.event.to_json() if each.event else None,
        }
        for each in allocations
    ]
    who = "/".join(pod) if pod else name
    if invocation.human:
        for row in rows:
            gateway = f", gateway {row['gateway']}" if row["gateway"] else ""
            had = "allocated to" if row["event"] else "is allocated already to"
            invocation.printer.line(
                printable(f"{row['ip']}/{row['prefixLength']} of pool {row['pool']!r} {had} {who}{gateway}")
            )
    else:
        if invocation.output == "csv":
            rows = [{**row, "event": row["event"] and row["event"]["seq"]} for row in rows]
        invocation.printer.rows(rows, (Column("ADDRESS", "ip"),))
    # An owner that has an address keeps it, as a pod's ADD would; a person who asked for another one is told so.
    if missed := sorted(set(ips) - {each.ip for each in allocations}):
        raise AddressUnavailable(
            f"{who} has another address already, and so not {', '.join(missed)}; `release` that one first",
            ip=missed[0],
            holder=who,
        )
    return 0
