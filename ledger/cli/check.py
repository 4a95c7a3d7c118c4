"""``check``: what should not be in the live state, and leak candidates with the evidence for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, cast

import click

from ledger.cli.everywhere import Invocation, everywhere

if TYPE_CHECKING:
    from ledger.audit import CheckReport, Ended
    from ledger.cli.output import Printer

CLUSTER = "sync.leaks:ended"
"""Who asks the API server, found by name: a function of (kubeconfig or None, progress) that returns an ``audit.Ended``."""


@click.command()
@click.option(
    "--against-cluster",
    is_flag=True,
    help="Ask the API server whether the pods that hold addresses still run.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="For --against-cluster. Default: KUBECONFIG, ~/.kube/config, or the pod's own account.",
)
@click.option(
    "--evidence",
    metavar="WHERE",
    help="Other evidence of ended owners, as the agent takes it: file:/PATH or command:PROGRAM.",
)
@everywhere
def command(
    invocation: Invocation, /, against_cluster: bool, kubeconfig: str | None, evidence: str | None
) -> int:
    """Look for what should not be, and for addresses that may have leaked.

    From the ledger alone: pools that are not what their events say, addresses that can never be picked or should not be, two
    owners of one address, addresses whose cooling or hold is long over, and addresses of pods that have been
    seen since with another UID. With --against-cluster or --evidence: addresses whose owners are known to have ended.
    Nothing is changed; `release` takes an address back. `verify` looks far deeper.

    \b
    Examples:
      ipam-ledger check
      ipam-ledger check --against-cluster -o json
      ipam-ledger check --evidence file:/run/ended-pods

    Exit status: 0 nothing found, 1 something found, 2 wrong usage.
    """
    from ledger import audit

    if against_cluster and evidence:
        raise click.UsageError("--against-cluster and --evidence exclude each other")
    with invocation.database() as database, invocation.progress("asking about owners") as done:
        report = audit.check(
            database, datetime.now(UTC), ended=_ended(against_cluster, kubeconfig, evidence, done)
        )
    printer = invocation.printer
    if invocation.human:
        _tell(printer, report)
    elif invocation.output in ("json", "yaml"):
        printer.one(
            {
                "ok": report.ok,
                "findings": [finding.to_json() for finding in report.findings],
                "leakCandidates": [suspect.to_json() for suspect in report.suspects],
                "asked": report.asked,
            }
        )
    else:
        rows = [
            {"found": "finding", "pool": each.pool, "ip": each.ip, "what": each.what}
            for each in report.findings
        ]
        rows += [
            {"found": "leak candidate", "pool": each.event.pool, "ip": each.event.ip, "what": each.evidence}
            for each in report.suspects
        ]
        printer.rows(rows, (), fields=("found", "pool", "ip", "what"))
    return 0 if report.ok else 1


def _ended(
    against_cluster: bool, kubeconfig: str | None, evidence: str | None, done: Callable[[int], None]
) -> Ended | None:
    from ledger import audit
    from ledger.evidence import parse_evidence

    if evidence:
        return audit.ask_each(parse_evidence(evidence), done)
    if not against_cluster:
        return None
    module, _, attribute = CLUSTER.partition(":")
    try:
        ask = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"--against-cluster is not part of this installation: {error}") from error
    return cast("Ended", ask(kubeconfig, done))


def _tell(printer: Printer, report: CheckReport) -> None:
    from ledger.audit import who_is
    from ledger.cli.output import printable
    from ledger.cli.times import shown

    for finding in report.findings:
        printer.line(printable(finding.what))
    for suspect in report.suspects:
        event = suspect.event
        text = f"{event.ip} of pool {event.pool!r} may have leaked: allocated to {who_is(event)} since {shown(event.at)}"
        printer.line(printable(text))
        printer.line(printable(f"  evidence: {suspect.evidence}"))
    asked = f", {report.asked:,} owners asked about" if report.asked else ""
    if report.ok:
        printer.line(f"nothing found{asked}")
    else:
        printer.line(f"{len(report.findings)} findings, {len(report.suspects)} leak candidates{asked}")
