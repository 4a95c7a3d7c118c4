"""``fence``: whether addresses may be given out after a restore."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.everywhere import Invocation, actor, everywhere, options
from ledger.cli.lazy import Group
from ledger.cli.params import ask_reason
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.adoption.verdict import Line
    from ledger.book import Book
    from ledger.store.fences import Fence

CHECK: Final = "sync.check"
RESTORE: Final = "sync.restore"
"""Who asks the API server, found by name at call time: this room has never heard of Kubernetes."""


@click.group(cls=Group)
@options
def command() -> None:
    """After a restore the ledger does not know what was given out since the backup, so nothing is given out.

    While the fence is raised, ADD answers "try again later" and STATUS "not available"; releases and questions go on.

    \b
    Examples:
      ipam-ledger fence status
      ipam-ledger fence lift --reason "compared after the restore"
    """


@command.command()
@everywhere
def status(invocation: Invocation, /) -> None:
    """Say whether the fence is raised, since when, why, and by whom.

    \b
    Example:
      ipam-ledger fence status -o json

    Exit status: 0 answered (either way), 1 the ledger cannot be read, 2 wrong usage.
    """
    from ledger import fence

    with invocation.database() as database:
        newest = fence.status(database)
    answer = newest.to_json() if newest else {"raised": False, "at": None, "reason": None, "actor": None}
    invocation.printer.one(answer, lambda: click.echo(_sentence(newest)))


@command.command("raise")
@click.option(
    "--reason",
    metavar="WORDS",
    callback=ask_reason,
    help="Why, for those who read it later. Asked for on a terminal, else required.",
)
@everywhere
def raise_(invocation: Invocation, /, reason: str) -> None:
    """Raise the fence by hand: nothing is given out until it is lifted.

    \b
    Example:
      ipam-ledger fence raise --reason "the database was restored from last night's dump"

    Exit status: 0 it is raised, 1 it cannot be, 2 wrong usage.
    """
    from ledger import fence

    with invocation.database() as database:
        done = fence.raise_fence(database, reason=reason, actor=actor())
        newest = fence.status(database)
    assert newest is not None
    answer = {**newest.to_json(), "changed": done}
    said = "" if done else "It was raised already. "
    invocation.printer.one(answer, lambda: click.echo(said + _sentence(newest)))


@command.command(short_help="Lift it, after comparing the ledger with the cluster.")
@click.option(
    "--no-cluster",
    is_flag=True,
    help="Lift it without asking the API server: there is none, or you looked yourself.",
)
@click.option(
    "--despite", is_flag=True, help="Lift it although something disagrees; what disagrees is shown."
)
@click.option(
    "--kubeconfig",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The API server. Default: as kubectl.",
)
@click.option(
    "--reason",
    metavar="WORDS",
    callback=ask_reason,
    help="Why it is safe, for those who read it later. Asked for on a terminal, else required.",
)
@everywhere
def lift(invocation: Invocation, /, no_cluster: bool, despite: bool, kubeconfig: str | None, reason: str) -> int:  # fmt: skip
    """Lift the fence, after comparing the ledger with what runs in the cluster.

    Addresses whose owners have ended are taken back on the API server's word, and what running pods have is adopted,
    each as an event. What disagrees is shown; then the fence stays.

    \b
    Examples:
      ipam-ledger fence lift --reason "compared after the restore"
      ipam-ledger fence lift --no-cluster --reason "single node, all containers were restarted"

    Exit status: 0 it is not raised any more, 1 it stays, 2 wrong usage.
    """
    from ledger import fence

    unresolved: list[dict[str, Any]] = []
    reclaimed: set[tuple[str, str]] = set()
    adopted = 0
    with invocation.book() as book:
        newest = fence.status(book.database)
        if newest is None or not newest.raised:
            invocation.printer.one(
                {"raised": False, "changed": False}, lambda: click.echo("The fence is not raised.")
            )
            return 0
        if not no_cluster:
            reclaimed = _reclaim(book, kubeconfig)
            lines, problems = _adopt(book, kubeconfig, reclaimed)
            adopted = sum(line.verdict.value == "adopted" for line in lines)
            unresolved = [line.to_json() for line in lines if not line.verdict.agrees]
            unresolved += [{"verdict": "unreadable", "why": str(problem)} for problem in problems]
        lifted = not unresolved or despite
        if lifted:
            fence.lift(book.database, reason=reason, actor=actor())
            if not no_cluster:
                import_module(RESTORE).settled(kubeconfig)
        newest = fence.status(book.database)
    answer = {
        "raised": not lifted,
        "changed": lifted,
        "reclaimed": len(reclaimed),
        "adopted": adopted,
        "unresolved": unresolved,
    }

    def tell() -> None:
        if not no_cluster:
            click.echo(f"{counted(len(reclaimed), 'address')} taken back, {adopted:,} adopted.")
        for each in unresolved:
            click.echo("  " + ", ".join(f"{key} {value}" for key, value in each.items() if value))
        if not lifted:
            click.echo(
                "The fence stays: settle these (`release`, `pool apply`), or lift it --despite them.",
                err=True,
            )
        click.echo(_sentence(newest))

    invocation.printer.one(answer, tell)
    return 0 if lifted else 1


def _reclaim(book: Book, kubeconfig: str | None) -> set[tuple[str, str]]:
    """Take back what the API server says the owner of has ended. Returns which: pool and address."""
    from ledger.events import Kind, State
    from ledger.follow import holders

    versions = {(event.pool, event.ip): event.version for event in holders(book.database, State.ALLOCATED)}
    done = set()
    for finding in import_module(CHECK).against_cluster(book.database, kubeconfig):
        version = versions.get((finding.pool, finding.ip))
        if finding.kind.value == "leak candidate" and version is not None:
            reason = f"behind the fence: {finding.why}"
            if book.transfer(finding.pool, finding.ip, version, Kind.RECLAIMED, reason=reason):
                done.add((finding.pool, finding.ip))
    return done


def _adopt(
    book: Book, kubeconfig: str | None, reclaimed: set[tuple[str, str]]
) -> tuple[list[Line], list[Any]]:
    """Adopt what runs, pools that the ledger has lost included. What disagrees is among the lines.

    Of what was taken back just now a status still shows the pod that has ended: only what runs there counts.
    """
    from ledger.adoption.compare import HELD, compare
    from ledger.adoption.perform import perform
    from ledger.adoption.wanted import wanted
    from ledger.follow import holders

    reading = import_module(RESTORE).from_cluster(kubeconfig)
    pools = [figures.spec for figures in book.pools()]
    new, problems = wanted(reading.specs, pools)
    for spec in new:
        book.apply_pool(spec, reason="behind the fence: the cluster has it")
    found = [each for each in reading.found if each.owner.uid or (each.pool, each.ip) not in reclaimed]
    lines = compare(found, [*pools, *new], holders(book.database, *HELD))
    return list(perform(book, lines, lambda more: None)), [*reading.problems, *problems]


def _sentence(newest: Fence | None) -> str:
    if newest is None:
        return "The fence was never raised."
    word = "raised" if newest.raised else "lifted"
    return f"The fence is {word} since {newest.to_json()['at']} by {newest.actor}: {newest.reason}."
