"""``restore``: the ledger is lost, and rebuilt from the cluster; or the cluster is, and gets its pools from the ledger."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from ledger.cli.everywhere import Invocation, actor, everywhere
from ledger.words import counted

RESTORE: Final = "sync.restore"
"""Who speaks to the API server, found by name at call time: this room has never heard of Kubernetes."""


@click.command()
@click.option(
    "--from-cluster",
    "direction",
    flag_value="from",
    help="Adopt what IPPools, their status and running pods say.",
)
@click.option(
    "--to-cluster",
    "direction",
    flag_value="to",
    help="Write the ledger's pools as IPPools where there are none.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option(
    "--kubeconfig",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The API server. Default: as kubectl.",
)
@everywhere
def command(invocation: Invocation, /, direction: str | None, dry_run: bool, kubeconfig: str | None) -> int:
    """Rebuild the ledger from the cluster, or the cluster's pools from the ledger.

    From the cluster: first the fence is raised, so that nothing is given out meanwhile. Then pools are created from the
    IPPools, and every address that a status or a running pod shows is adopted, as an event that says where it comes from.
    If nothing disagrees the fence is lifted; else it stays, what disagrees is shown, and the exit status is 1: settle it, then
    `fence lift`. Running it twice changes nothing.

    To the cluster: an IPPool that is there is left as it is, and shown where it differs. One that the API server refuses is
    shown with its reason, and the others are written all the same.

    \b
    Examples:
      ipam-ledger restore --from-cluster --dry-run
      ipam-ledger restore --from-cluster
      ipam-ledger restore --to-cluster

    Exit status: 0 nothing disagrees, 1 something does, 2 wrong usage.
    """  # fmt: skip
    if direction is None:
        raise click.UsageError("say which way: --from-cluster or --to-cluster")
    return (_from if direction == "from" else _to)(invocation, dry_run, kubeconfig)


def _from(invocation: Invocation, dry_run: bool, kubeconfig: str | None) -> int:
    from ledger import fence
    from ledger.adoption.compare import HELD, compare
    from ledger.adoption.perform import perform
    from ledger.adoption.verdict import Verdict, row_of
    from ledger.adoption.wanted import wanted
    from ledger.cli.events import owner
    from ledger.cli.output import Column
    from ledger.follow import holders

    restore = import_module(RESTORE)
    restore.look(kubeconfig)  # before the fence: who cannot even ask should not stop a ledger that works
    with invocation.book(create=True, dry_run=dry_run) as book:
        if not dry_run:
            fence.raise_fence(
                book.database, reason="the ledger is being restored from the cluster", actor=actor()
            )
            if invocation.human:
                click.echo(
                    "The fence is raised: nothing is given out until this is done, or `fence lift`.", err=True
                )
        reading = restore.from_cluster(kubeconfig)
        pools = [figures.spec for figures in book.pools()]
        new, problems = wanted(reading.specs, pools)
        if not dry_run:
            for spec in new:
                book.apply_pool(spec, reason="restored: the cluster has it")
        lines = compare(reading.found, [*pools, *new], holders(book.database, *HELD))
        if not dry_run:
            waiting = sum(line.verdict is Verdict.ADOPT for line in lines)
            with invocation.progress("adopting", waiting) as done:
                lines = list(perform(book, lines, done))
        problems += reading.problems
        agrees = all(line.verdict.agrees for line in lines) and not problems
        if agrees and not dry_run:
            fence.lift(
                book.database, reason="restored from the cluster, and nothing disagreed", actor=actor()
            )
            restore.settled(kubeconfig)
    quiet = {Verdict.ADOPTED, Verdict.SAME}
    shown = [line for line in lines if not (invocation.human and line.verdict in quiet)]
    fields = ("verdict", "ip", "pool", "namespace", "pod", "podUID", "node", "origin", "why")
    columns = [
        Column("VERDICT", "verdict"),
        Column("ADDRESS", "ip"),
        Column("POOL", "pool"),
        Column("OWNER", owner),
        Column("FROM", "origin"),
        Column("WHY", "why"),
    ]
    rows = [*(line.to_json() for line in shown), *(row_of(problem) for problem in problems)]
    if rows or not invocation.human:
        invocation.printer.rows(rows, columns, fields=fields)
    if invocation.human:
        count = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
        new_pools = f"{counted(len(new), 'pool')} {'would be ' if dry_run else ''}created"
        adopted = (
            f"{counted(count[Verdict.ADOPT], 'address')} would be adopted"
            if dry_run
            else f"{counted(count[Verdict.ADOPTED], 'address')} adopted"
        )
        disagree = sum(not line.verdict.agrees for line in lines) + len(problems)
        click.echo(
            f"{new_pools}, {adopted}, {count[Verdict.SAME]} known already, {disagree} disagree.", err=True
        )
        if not agrees and not dry_run:
            click.echo("The fence stays raised: settle these, then `ipam-ledger fence lift`.", err=True)
    return 0 if agrees else 1


def _to(invocation: Invocation, dry_run: bool, kubeconfig: str | None) -> int:
    from ledger.book import Book
    from ledger.cli.output import Column

    with invocation.database() as database:
        specs = [figures.spec for figures in Book(database, actor=actor()).pools()]
    written = import_module(RESTORE).to_cluster(specs, kubeconfig, dry_run=dry_run)
    rows = [{"pool": each.pool, "result": each.became, "why": each.why} for each in written]
    columns = [Column("POOL", "pool"), Column("RESULT", "result"), Column("WHY", "why")]
    invocation.printer.rows(rows, columns, fields=("pool", "result", "why"))
    return 1 if any(each.became in ("differs", "refused") for each in written) else 0
