"""``pool``: apply, list, show and delete pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ledger.cli.everywhere import Invocation, everywhere, options
from ledger.cli.lazy import Group
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.audit import Usage
    from ledger.catalog import PoolFigures
    from ledger.cli.output import Printer
    from ledger.events import State

RESOURCE = "ippool.ipam.k8s.io"
VERBS = {"created": "created", "updated": "configured", "unchanged": "unchanged"}  # kubectl's words


@click.group("pool", cls=Group)
@options
def command() -> None:
    """Apply, list, show and delete pools: the same IPPool JSON or YAML that kubectl takes.

    In a cluster with the sync worker, pools come from the API server; this is for those without one.

    \b
    Examples:
      ipam-ledger pool apply -f ippool.yaml
      ipam-ledger pool list
      ipam-ledger pool show ippool
    """


@command.command("apply", short_help="Create pools, or change them to what files say.")
@click.option("-f", "--filename", "files", multiple=True, required=True, metavar="FILE",
              help="JSON or YAML, one IPPool or several; - is stdin (repeat for more files).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; change nothing.")
@click.option("--reason", metavar="TEXT", help="Why, for those who read the ledger later.")
@everywhere
def apply(invocation: Invocation, /, files: tuple[str, ...], dry_run: bool, reason: str | None) -> int:
    """Create pools or change them to what the files say; a pool that is so already gets no event.

    Every file is read and validated before anything is written. Then each pool is one transaction: one that is refused (it
    overlaps another of its address space, or would drop an address in use) changes nothing and does not stop the others.

    \b
    Examples:
      ipam-ledger pool apply -f ippool.yaml
      kubectl get ippools -o json | ipam-ledger pool apply -f - --dry-run

    Exit status: 0 all are as the files say, 1 a file is not valid or a pool was refused, 2 wrong usage.
    """
    from ledger import pools
    from ledger.catalog import PoolChange
    from ledger.errors import InvalidPool, LedgerError, TryAgain

    specs: dict[str, pools.PoolSpec] = {}
    for name in files:
        text, source = _text(name)
        try:
            parsed = pools.parse(text, source)
        except InvalidPool as error:
            if len(files) == 1 or source in error.field:
                raise
            raise InvalidPool(f"{source}: {error.field}", error.value, error.why) from error
        for spec in parsed:
            if spec.name in specs:
                raise InvalidPool("metadata.name", spec.name, f"comes twice (again in {source})")
            specs[spec.name] = spec
    rows: list[dict[str, Any]] = []
    suffix = " (dry run)" if dry_run else ""
    with invocation.book(create=True, dry_run=dry_run) as book:
        outcomes: list[PoolChange | LedgerError] = []
        for spec in specs.values():
            try:
                outcomes.append(book.apply_pool(spec, reason=reason, dry_run=dry_run))
            except TryAgain:
                raise
            except LedgerError as error:
                outcomes.append(error)
    for spec, outcome in zip(specs.values(), outcomes, strict=True):
        for field in spec.unknown:
            click.echo(
                f"Warning: pool {spec.name!r}: unknown field {field!r} is kept, and means nothing here",
                err=True,
            )
        if isinstance(outcome, LedgerError):
            rows.append(
                {"name": spec.name, "action": "refused", "error": str(outcome), "facts": outcome.facts()}
            )
            if invocation.human:
                click.echo(f"Error: {outcome}", err=True)
            continue
        event = outcome.event.to_json() if outcome.event and not dry_run else None
        rows.append({"name": spec.name, "action": VERBS[outcome.action], "event": event})
        if invocation.human:
            invocation.printer.line(f"{RESOURCE}/{spec.name} {VERBS[outcome.action]}{suffix}")
    if not invocation.human:
        invocation.printer.rows(rows, (), fields=("name", "action", "error"))
    return 1 if any(row["action"] == "refused" for row in rows) else 0


def _text(name: str) -> tuple[bytes, str]:
    from ledger.files import read_bounded
    from ledger.manifest import MAX_BYTES

    try:
        return read_bounded(name, MAX_BYTES), "stdin" if name == "-" else name
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="-f") from error


@command.command("list")
@everywhere
def list_(invocation: Invocation, /) -> int:
    """List the pools with their counts.

    \b
    Examples:
      ipam-ledger pool list
      ipam-ledger pool list -o json | jq '.[] | select(.utilization > 0.9) | .name'

    Exit status: 0 answered (no pool is an answer), 1 the ledger cannot be read, 2 wrong usage.
    """
    from ledger.book import Book
    from ledger.cli.output import Column

    with invocation.reading() as database:
        rows = [figures(each) for each in Book(database, actor="").pools()]
    columns = (
        Column("NAME", "name"),
        Column("CAPACITY", "capacity", right=True),
        Column("ALLOCATED", "allocated", right=True),
        Column("FREE", "free", right=True),
        Column("HELD", "held", right=True),
        Column("COOLING", "cooling", right=True),
        Column("USED%", lambda row: percent(row["utilization"]), right=True),
        Column("SPACE", "addressSpace"),
    )
    invocation.printer.rows(
        rows, columns, fields=_FIELDS, empty="no pool; `ipam-ledger pool apply -f FILE` makes one"
    )
    return 0


_FIELDS = (
    "name", "capacity", "allocated", "free", "held", "cooling", "utilization", "addressSpace", "pickStrategy",
    "cooldownSeconds", "retainFor", "version", "subs",
)  # fmt: skip


def figures(pool: PoolFigures) -> dict[str, Any]:
    """A pool for programs."""
    spec = pool.spec
    return {
        "name": spec.name,
        "capacity": pool.capacity,
        "allocated": pool.allocated,
        "free": pool.free,
        "held": pool.held,
        "cooling": pool.cooling,
        "utilization": pool.utilization,
        "addressSpace": spec.address_space,
        "pickStrategy": spec.pick_strategy,
        "cooldownSeconds": spec.cooldown_seconds,
        "retainFor": list(spec.retain_for),
        "version": pool.version,
        "subs": [
            {
                "range": str(sub.range),
                "family": sub.family,
                "network": str(sub.network),
                "netmaskBits": sub.prefix_length,
                "gateway": sub.gateway,
                "reservedRanges": list(raw.get("reservedRanges") or ()),
                "nodeSelector": dict(sub.node_selector) if sub.node_selector else None,
                "capacity": sub.capacity,
            }
            for sub, raw in zip(spec.subs, spec.raw["ipPoolSubs"], strict=True)
        ],
    }


def percent(share: float) -> str:
    """``0.1``; what is not quite nothing or everything never looks so."""
    shown = 100 * share
    if 0 < shown < 0.1:
        return "<0.1"
    if 99.9 < shown < 100:
        return ">99.9"
    return f"{shown:.1f}"


@command.command("show", short_help="Show one pool: counts, ranges, use over time, a map.")
@click.argument("name")
@click.option("--map/--no-map", "drawn", default=None, help="A map of the addresses. Default: on a terminal.")
@everywhere
def show(invocation: Invocation, /, name: str, drawn: bool | None) -> int:
    """Show one pool: its counts and ranges, its utilisation over time, when it will be full at this pace, and a map.

    The past is the last 30 days, or the ledger's last 200,000 events if that is less. A forecast is given only where the
    pool is filling up steadily.

    \b
    Examples:
      ipam-ledger pool show ippool
      ipam-ledger pool show ippool --map
      ipam-ledger pool show ippool -o json | jq .utilization

    Exit status: 0 answered, 1 there is no such pool, 2 wrong usage.
    """
    from datetime import UTC, datetime

    from ledger import audit
    from ledger.book import Book

    with invocation.reading() as database:
        pool = Book(database, actor="").pool(name)
        usage = audit.usage(database, name, datetime.now(UTC))
        drawn = invocation.human and (invocation.printer.terminal if drawn is None else drawn)
        in_use = audit.in_use(database, name) if drawn else {}
    row = {**figures(pool), "history": usage.to_json() if usage else None}
    printer = invocation.printer
    if not invocation.human:
        printer.one(row, fields=(*_FIELDS, "history"))
        return 0
    _tell(printer, pool, usage)
    if drawn:
        _draw(printer, pool, in_use)
    return 0


def _tell(printer: Printer, pool: PoolFigures, usage: Usage | None) -> None:
    from ledger.cli.output import printable

    spec = pool.spec
    cooldown = f", cooldown {spec.cooldown_seconds:,} s" if spec.cooldown_seconds else ""
    facts = [
        ("pool", spec.name),
        (
            "space",
            f"{spec.address_space}, picks {spec.pick_strategy}{cooldown}, retains for {', '.join(spec.retain_for) or 'nobody'}",
        ),
        ("capacity", f"{pool.capacity:,}"),
        ("allocated", f"{pool.allocated:,}"),
        ("held", f"{pool.held:,}"),
        ("cooling", f"{pool.cooling:,}"),
        ("free", f"{pool.free:,}"),
        ("used", f"{percent(pool.utilization)} %"),
    ]
    for sub in spec.subs:
        gateway = f", gateway {sub.gateway}" if sub.gateway else ""
        nodes = (
            f", nodes {','.join(f'{k}={v}' for k, v in sub.node_selector.items())}"
            if sub.node_selector
            else ""
        )
        facts.append(("range", f"{sub.range} of {sub.network}: {sub.capacity:,}{gateway}{nodes}"))
    if spec.static_owners:
        facts.append(("static", f"reserved for pods by name: {counted(len(spec.static_owners), 'address')}"))
    if usage is not None:
        facts += _over_time(usage)
    for title, text in facts:
        printer.line(f"{title:<11}{printable(text)}")


def _over_time(usage: Usage) -> list[tuple[str, str]]:
    from ledger.cli.draw import sparkline
    from ledger.words import spell

    span = spell(usage.until - usage.since)
    low, high = min(usage.used), max(usage.used)
    out = [("over time", f"{sparkline(usage.used)}  {low:,} to {high:,} in use, the last {span}")]
    left = usage.full_in
    if usage.used[-1] >= usage.capacity:
        out.append(("forecast", "full"))
    elif left is not None:
        out.append(("forecast", f"full in about {spell(left)} at the pace of the last {span}"))
    else:
        out.append(("forecast", "not filling up, as far as the last " + span + " can tell"))
    return out


def _draw(printer: Printer, pool: PoolFigures, in_use: dict[str, State]) -> None:
    from itertools import groupby

    from rich.text import Text

    from ledger.addresses import to_text
    from ledger.cli import draw

    for sub in pool.spec.subs:
        drawing = draw.map_of(sub, in_use)
        printer.line()
        if drawing is None:
            printer.line(f"{sub.range}: too large for a map")
            continue
        each = "" if drawing.each == 1 else f", {drawing.each} addresses a cell"
        printer.line(f"{sub.range}{each}")
        label = len(to_text(sub.family, sub.range.last)) + 2
        width = next((cells for cells in (64, 32) if printer.width >= label + cells), 16)
        for offset, cells in drawing.lines(width):
            line = Text(f"{to_text(sub.family, sub.range.first + offset):<{label}}")
            for style, run in groupby(cells, key=lambda cell: cell.style):
                line.append("".join(cell.char for cell in run), style)
            printer.rich(line)
    printer.line()
    line = Text()
    for cell, meaning in (
        (draw.ALLOCATED, "allocated"),
        (draw.HELD, "held"),
        (draw.COOLING, "cooling"),
        (draw.FREE, "free"),
        (draw.NEVER, "never given out"),
    ):
        line.append(cell.char, cell.style).append(f" {meaning}   ")
    printer.rich(line)


@command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="Why, for those who read the ledger later.")
@everywhere
def delete(invocation: Invocation, /, names: tuple[str, ...], reason: str | None) -> int:
    """Delete pools; their history stays. Refused while somebody has an address of the pool, or one is held.

    \b
    Examples:
      ipam-ledger pool delete ippool --reason 'the rack is gone'

    Exit status: 0 deleted, 1 in use or unknown, 2 wrong usage.
    """
    rows = []
    try:
        with invocation.book() as book:
            for name in names:
                event = book.delete_pool(name, reason=reason)
                rows.append({"name": name, "action": "deleted", "event": event.to_json()})
    finally:  # what was deleted is told, also where the next one is refused
        if invocation.human:
            for row in rows:
                invocation.printer.line(f'{RESOURCE} "{row["name"]}" deleted')
        elif rows:
            invocation.printer.rows(rows, (), fields=("name", "action"))
    return 0
