"""``pool``: apply, list, show and delete pools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.everywhere import Invocation, everywhere

if TYPE_CHECKING:
    from ledger.catalog import PoolFigures


@click.group()
def command() -> None:
    """Apply, list, show and delete pools.

    Pools come as the IPPool objects that kubectl takes (group ipam.k8s.io/v1alpha1), in JSON or YAML.
    """


@command.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="JSON or YAML; - is stdin. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--reason", metavar="TEXT", help="Why, for the ledger.")
@everywhere
def apply(invocation: Invocation, /, files: tuple[str, ...], dry_run: bool, reason: str | None) -> int:
    """Create pools, or update them. A pool that is so already is left alone.

    Refused, and then nothing of that pool is changed: what is not valid (the field and the value are named), a pool that
    overlaps another of its address space, and an update that would drop an address in use.

    \b
    Examples:
      ipam-ledger pool apply -f ippool.yaml
      kubectl get ippool ippool -o json | ipam-ledger pool apply -f -
    """
    from ledger import pools

    specs = [spec for file in files for spec in pools.parse(_read(file), file)]
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"pool {name!r} is there twice")
    done = []
    with invocation.book() as book:
        for spec in specs:
            change = book.apply_pool(spec, reason=reason, dry_run=dry_run)
            row = {"pool": spec.name, "action": change.action, "capacity": spec.capacity, "dryRun": dry_run}
            done.append(row)
            if invocation.human:  # as each is done: the next may be refused
                action = {"updated": "configured"}.get(change.action, change.action)
                said = f"ippool.ipam.k8s.io/{spec.name} {action}{' (dry run)' if dry_run else ''}"
                click.echo(f"{said}, {spec.capacity:,} addresses" if change.action != "unchanged" else said)
    if not invocation.human:
        invocation.printer.rows(done, [])
    return 0


@command.command("list")
@everywhere
def list_(invocation: Invocation, /) -> int:
    """All pools and their figures."""
    from ledger.book import Book
    from ledger.cli.output import Column

    columns = [
        Column("NAME", "name"),
        Column("CAPACITY", "capacity", right=True),
        Column("ALLOCATED", "allocated", right=True),
        Column("FREE", "free", right=True),
        Column("HELD", "held", right=True),
        Column("COOLING", "cooling", right=True),
        Column("USED%", lambda row: f"{100 * row['utilization']:.1f}", right=True),
        Column("RANGES", lambda row: ", ".join(sub["range"] for sub in row["subs"])),
    ]
    with invocation.reading() as database:
        found = [figures_row(figures) for figures in Book(database, actor="").pools()]
    fields = [
        "name",
        "addressSpace",
        "capacity",
        "allocated",
        "free",
        "held",
        "cooling",
        "utilization",
        "version",
        "subs",
    ]
    invocation.printer.rows(
        found, columns, fields=fields, empty="There is no pool yet: ipam-ledger pool apply -f FILE"
    )
    return 0


@command.command()
@click.argument("name")
@everywhere
def show(invocation: Invocation, /, name: str) -> int:
    """One pool: its figures, its subs, and what it never gives out."""
    from ledger.book import Book

    with invocation.reading() as database:
        figures = Book(database, actor="").pool(name)
    row = figures_row(figures)

    def tell() -> None:
        spec = figures.spec
        for title, text in (
            ("pool", f"{spec.name} (address space {spec.address_space}, {spec.pick_strategy} pick)"),
            ("capacity", f"{figures.capacity:,}"),
            ("allocated", f"{figures.allocated:,} ({100 * figures.utilization:.1f} % in use)"),
            ("free", f"{figures.free:,}"),
            ("held", f"{figures.held:,}"),
            ("cooling", f"{figures.cooling:,} (cooldown {spec.cooldown_seconds} s)"),
        ):
            click.echo(f"{title:<10} {text}")
        for sub in spec.subs:
            where = f", on nodes with {dict(sub.node_selector)}" if sub.node_selector else ""
            click.echo(
                f"sub {sub.ordinal:<6} {sub.range} of {sub.network}, gateway {sub.gateway or 'none'}{where}"
            )
            for entry in row["subs"][sub.ordinal].get("reservedRanges", []):
                click.echo(f"           reserved {entry}")
        for ip, owner in spec.static_owners.items():
            click.echo(f"static     {ip} for {'/'.join(owner)}")

    invocation.printer.one(row, tell)
    return 0


@command.command()
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Why, for the ledger.")
@everywhere
def delete(invocation: Invocation, /, name: str, reason: str | None) -> int:
    """Delete a pool. Refused while an address of it is in use; its history stays."""
    with invocation.book() as book:
        event = book.delete_pool(name, reason=reason)
    invocation.printer.one(event.to_json(), lambda: click.echo(f"ippool.ipam.k8s.io/{name} deleted"))
    return 0


def figures_row(figures: PoolFigures) -> dict[str, Any]:
    """A pool for a program."""
    spec = figures.spec
    subs = []
    for sub, raw in zip(spec.subs, spec.raw["ipPoolSubs"], strict=True):
        row: dict[str, Any] = {
            "range": str(sub.range),
            "network": str(sub.network),
            "netmaskBits": sub.prefix_length,
            "gateway": sub.gateway,
            "capacity": sub.capacity,
        }
        for key in ("reservedRanges", "nodeSelector"):
            if raw.get(key):
                row[key] = raw[key]
        subs.append(row)
    return {
        "name": spec.name,
        "addressSpace": spec.address_space,
        "capacity": figures.capacity,
        "allocated": figures.allocated,
        "free": figures.free,
        "held": figures.held,
        "cooling": figures.cooling,
        "utilization": round(figures.utilization, 6),
        "version": figures.version,
        "subs": subs,
    }


def _read(file: str) -> bytes:
    from ledger.manifest import MAX_BYTES

    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be read: {error.strerror}") from error
