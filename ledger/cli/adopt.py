"""``adopt --from KIND SOURCE``: take over what another IPAM has given out. ``import --from`` is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.adoption.found import Problem, Reading, Unsaid
    from ledger.adoption.verdict import Line
    from ledger.book import Book
    from ledger.poolspec import PoolSpec

F = TypeVar("F", bound=Callable[..., Any])

KINDS: Final = ("k8s-ipam", "whereabouts", "host-local")
CLUSTER: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say, beside where to read from."""

    dry_run: bool = False
    apply_pools: bool = False
    pool: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    network: str | None = None
    if_name: str | None = None
    node: str | None = None
    sandboxes: tuple[str, ...] = ()
    kubeconfig: str | None = None


def adoption_options(command: F) -> F:
    """Every option of ``Given``, under its own name."""
    for declare in (
        click.option("--kubeconfig", metavar="FILE", help="For SOURCE `cluster`: the API server. Default: as kubectl."),
        click.option("--sandboxes", metavar="FILE", multiple=True,
                     help="What `crictl pods -o json` printed on a node: which container is which pod's. Repeatable."),
        click.option("--node", metavar="NAME", help="The node these records come from (host-local knows only its own)."),
        click.option("--if-name", metavar="NAME",
                     help="The interface where a record names none. Default: eth0; net1 for whereabouts."),
        click.option("--network", metavar="NAME",
                     help="The `name` of the CNI configuration, where the records do not say (k8s-ipam, whereabouts)."),
        click.option("--only", metavar="PATTERN", multiple=True,
                     help="Only records of objects or networks of that name, such as kube-system/podnet-*. Repeatable."),
        click.option("--pool", metavar="NAME", multiple=True, help="Adopt into these pools only. Repeatable."),
        click.option("--apply-pools", is_flag=True, help="Create missing pools from the same objects (k8s-ipam)."),
        click.option("--dry-run", is_flag=True, help="Show what would be adopted and what disagrees; adopt nothing."),
    ):  # fmt: skip
        command = declare(command)
    return command


@click.command()
@click.option("--from", "kind", type=click.Choice(KINDS), required=True, help="Whose records they are.")
@click.argument("source")
@adoption_options
@everywhere
def command(invocation: Invocation, /, kind: str, source: str, **given: Any) -> int:
    """Take over what another IPAM has given out, as Adopted events that say where they came from.

    SOURCE: a file of objects as kubectl prints them (JSON or YAML; - is stdin), or `cluster`: read them from the API
    server; for host-local its folder, such as /var/lib/cni/networks. What the ledger says already is left alone: running
    it twice changes nothing. What disagrees is shown and not adopted, and the exit status is 1.

    \b
    Examples:
      kubectl get ippools.ipam.k8s.io -o json | ipam-ledger adopt --from k8s-ipam - --apply-pools --dry-run
      ipam-ledger adopt --from whereabouts cluster --network podnet --dry-run
      ipam-ledger adopt --from host-local /var/lib/cni/networks --node "$(hostname)" --sandboxes sandboxes.json

    Exit status: 0 everything is adopted (or would be), 1 something disagrees or cannot be read, 2 wrong usage.
    """
    return run(invocation, kind, source, Given(**given))


def run(invocation: Invocation, kind: str, source: str, given: Given) -> int:
    """The exit status: 0 if everything is adopted now (or would be), 1 if something disagrees or cannot be read."""
    from ledger.adoption.compare import HELD, compare
    from ledger.adoption.perform import perform
    from ledger.adoption.verdict import Verdict
    from ledger.errors import TryAgain
    from ledger.follow import holders

    if given.apply_pools and kind != "k8s-ipam":
        raise click.UsageError(f"--apply-pools: {kind}'s records are no pools; write them, then `pool apply`")
    reading, alive = _read(kind, source, given)
    with invocation.book(create=True, dry_run=given.dry_run) as book:
        pools, missing = _pools(book, reading, given)
        lines = compare(reading.found, pools, holders(book.database, *HELD), alive=alive)
        if not given.dry_run:
            waiting = sum(line.verdict is Verdict.ADOPT for line in lines)
            became: list[Line] = []
            try:
                with invocation.progress("adopting", waiting) as done:
                    became.extend(perform(book, lines, done))
            except (KeyboardInterrupt, TryAgain):
                adopted = sum(line.verdict is Verdict.ADOPTED for line in became)
                click.echo(f"Stopped: {adopted} of {waiting} are adopted; run it again to go on.", err=True)
                raise
            order = {line.found: number for number, line in enumerate(lines)}
            lines = sorted(became, key=lambda line: order[line.found])
    _show(invocation, lines, reading.problems, dry_run=given.dry_run)
    if invocation.human:
        _sum_up(lines, reading.problems, missing, given)
    return 0 if all(line.verdict.agrees for line in lines) and not reading.problems else 1


# Reading ------------------------------------------------------------------------------------------


def _read(kind: str, source: str, given: Given) -> tuple[Reading, frozenset[str]]:
    from ledger.adoption import found, host_local, k8s_ipam, sandboxes, whereabouts
    from ledger.adoption.objects import open_lists

    unsaid = _unsaid(kind, given)
    if kind == "host-local":
        if source in ("-", CLUSTER):
            raise click.UsageError("host-local keeps its records in a folder of each node: name the folder")
        reading = host_local.read(Path(source), unsaid)
    else:
        if source == CLUSTER:
            objects: Iterable[tuple[str, object]] = _cluster(kind, given.kubeconfig)
        else:
            objects = open_lists(_documents(source), source)
        reader = k8s_ipam.read if kind == "k8s-ipam" else whereabouts.read
        reading = reader(objects, unsaid)
    if given.only:
        reading = found.Reading(
            [each for each in reading.found if _matches(each.record, given.only)],
            reading.problems,
            {name: spec for name, spec in reading.specs.items() if _matches(name, given.only)},
        )
    running = []
    for file in given.sandboxes:
        more, problems = sandboxes.read(_documents(file), file)
        running += more
        reading.problems += problems
    reading.found = sandboxes.identify(reading.found, running)
    return reading, frozenset(each.container_id for each in running)


def _unsaid(kind: str, given: Given) -> Unsaid:
    from ledger.adoption.found import Unsaid, interface, network_name
    from ledger.outside import is_subdomain

    if given.network is not None:
        network_name(given.network, "--network")
    if given.node is not None and not is_subdomain(given.node):
        raise click.UsageError(f"--node: {given.node!r} is no name of a node")
    usual = "net1" if kind == "whereabouts" else "eth0"
    return Unsaid(interface(given.if_name or usual, "--if-name"), given.network or "", given.node)


def _documents(source: str) -> list[object]:
    from ledger.adoption.objects import read_documents

    documents = read_documents(_bytes(source), source)
    if not documents:  # an empty list of kubectl's or crictl's is a document; this is one that failed
        raise click.UsageError(f"{source}: is empty; look at what should have written it")
    return documents


def _bytes(source: str) -> bytes:
    from ledger.adoption.objects import MAX_BYTES
    from ledger.files import read_bounded

    try:
        return read_bounded(source, MAX_BYTES)
    except OSError as error:
        raise click.UsageError(f"{source}: {error.strerror}") from error


def _cluster(kind: str, kubeconfig: str | None) -> Iterable[tuple[str, object]]:
    """The API server is read by ``sync``, which this room does not know; it is found by name."""
    from importlib import import_module

    objects: Iterable[tuple[str, object]] = import_module("sync.old").read(kind, kubeconfig)
    return objects


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# Pools --------------------------------------------------------------------------------------------


def _pools(book: Book, reading: Reading, given: Given) -> tuple[list[PoolSpec], list[str]]:
    """The pools to adopt into, with those that are created now (or would be); and the names of those that are missing."""
    from ledger.adoption.wanted import wanted

    pools = [figures.spec for figures in book.pools()]
    missing = sorted(reading.specs.keys() - {pool.name for pool in pools})
    if given.apply_pools:
        new, problems = wanted(reading.specs, pools)
        reading.problems += problems
        for spec in new:
            if not given.dry_run:
                book.apply_pool(spec, reason=f"applied from k8s-ipam ippool {spec.name}")
            word = "would be created" if given.dry_run else "created"
            click.echo(f"Pool {spec.name}: {word} ({counted(spec.capacity, 'address')}).", err=True)
            missing.remove(spec.name)
        pools += new
    if given.pool:
        strange = sorted(set(given.pool) - {pool.name for pool in pools})
        if strange:
            raise click.ClickException(f"the ledger has no pool {', '.join(strange)}")
        pools = [pool for pool in pools if pool.name in given.pool]
    return pools, missing


# Showing ------------------------------------------------------------------------------------------


def _show(invocation: Invocation, lines: list[Line], problems: list[Problem], *, dry_run: bool) -> None:
    from ledger.adoption.verdict import Verdict, row_of
    from ledger.cli.output import Column

    # A person who has adopted 60,000 addresses wants to read the three that were not.
    hidden = {Verdict.SAME} if dry_run else {Verdict.SAME, Verdict.ADOPTED}
    shown = [line for line in lines if not (invocation.human and line.verdict in hidden)]
    invocation.printer.rows(
        [*(line.to_json() for line in shown), *(row_of(problem) for problem in problems)],
        [
            Column("VERDICT", "verdict"),
            Column("ADDRESS", "ip"),
            Column("POOL", "pool"),
            Column("OWNER", _owner),
            Column("INTERFACE", "ifName"),
            Column("FROM", "origin"),
            Column("WHY", "why"),
        ],
        fields=("verdict", "ip", "pool", "namespace", "pod", "podUID", "containerID", "ifName", "network", "node",
                "origin", "why"),
    )  # fmt: skip


def _owner(row: Any) -> str | None:
    if row["namespace"] and row["pod"]:
        return f"{row['namespace']}/{row['pod']}"
    return f"container {row['containerID'][:12]}" if row["containerID"] else None


def _sum_up(lines: list[Line], problems: list[Problem], missing: list[str], given: Given) -> None:
    from ledger.adoption.verdict import Verdict

    count = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    said = [
        f"{count[Verdict.ADOPT]} would be adopted" if given.dry_run else f"{count[Verdict.ADOPTED]} adopted",
        f"{count[Verdict.SAME]} already so",
        f"{sum(not line.verdict.agrees for line in lines)} disagree",
        f"{len(problems)} cannot be read",
    ]
    end = " (dry run: nothing was written)" if given.dry_run else ""
    click.echo(f"{', '.join(said)}{end}.", err=True)
    if missing and not given.apply_pools and count[Verdict.NO_POOL]:
        click.echo(
            f"Run it with --apply-pools to create {', '.join(missing)} from the same objects.", err=True
        )
