"""``check``: what should not be in the live state, and leak candidates with the evidence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.audit import CheckReport
    from ledger.store import Database

CHECK: Final = "sync.check"
"""Who asks the API server, found by name at call time: this room has never heard of Kubernetes."""


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
    seen since with another UID. With --evidence: addresses whose owners have ended. With --against-cluster: the same by
    the API server's word, running pods whose addresses the ledger does not know or has given to somebody else, and
    pools that differ; what is found so is looked for once more two seconds later, for a pod may just end. Nothing is changed; `release` takes an address back. `verify` looks far deeper.

    A replica that IPAM_LEDGER_READ_DB names is asked only where nothing outside is compared with it: it may be behind.

    \b
    Examples:
      ipam-ledger check
      ipam-ledger check --against-cluster -o json
      ipam-ledger check --evidence file:/run/ended-pods

    Exit status: 0 nothing bad found, 1 something bad found or the evidence could not be had, 2 wrong usage.
    """
    from ledger import audit
    from ledger.cli.output import printable
    from ledger.evidence import parse_evidence

    compared = evidence is not None or against_cluster
    asking = invocation.database() if compared else invocation.reading()
    with asking as database, invocation.progress("asking about owners") as done:
        ask = audit.AskEach(parse_evidence(evidence), done) if evidence is not None else None
        report = audit.check(database, datetime.now(UTC), ended=ask)
        rows = [*_rows(report), *(_unanswered(ask.unanswered) if ask else ())]
        rows += _against_cluster(database, kubeconfig) if against_cluster else ()
    bad = sum(row["bad"] for row in rows)
    printer = invocation.printer
    if invocation.human:
        for row in rows:
            where = " ".join(filter(None, (row["ip"], f"of pool {row['pool']!r}" if row["pool"] else None)))
            owner = f"({row['owner']})" if row["owner"] else ""
            what = " ".join(filter(None, (where, owner)))
            printer.line(printable(": ".join(filter(None, (row["kind"], what, row["why"])))))
        asked = f"; asked about the owners of {counted(report.asked, 'address')}" if report.asked else ""
        printer.line(f"{bad} of {len(rows)} findings are bad{asked}" if rows else f"nothing found{asked}")
    elif invocation.output in ("json", "yaml"):
        printer.one({"ok": not bad, "findings": rows, "asked": report.asked})
    else:
        printer.rows(rows, (), fields=("kind", "pool", "ip", "owner", "why", "bad", "seq"))
    return 1 if bad else 0


def _rows(report: CheckReport) -> Iterator[dict[str, Any]]:
    from ledger.audit import who_is
    from ledger.events import rfc3339

    for finding in report.findings:
        yield _row("inconsistent", finding.pool, finding.ip, None, finding.what, seq=finding.seq)
    for suspect in report.suspects:
        event = suspect.event
        why = f"allocated since {rfc3339(event.at)} (event {event.seq}), but {suspect.evidence}"
        yield _row("leak candidate", event.pool, event.ip, who_is(event), why, seq=event.seq)


def _unanswered(failures: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for failure, times in failures.items():
        yield _row("no evidence", None, None, None, f"{failure} (of {counted(times, 'address')})")


def _against_cluster(database: Database, kubeconfig: str | None) -> Iterator[dict[str, Any]]:
    for found in import_module(CHECK).against_cluster(database, kubeconfig):
        yield _row(str(found.kind), found.pool, found.ip, found.owner, found.why, bad=found.bad)


def _row(
    kind: str,
    pool: str | None,
    ip: str | None,
    owner: str | None,
    why: str,
    *,
    seq: int | None = None,
    bad: bool = True,
) -> dict[str, Any]:
    return {"kind": kind, "pool": pool, "ip": ip, "owner": owner, "why": why, "bad": bad, "seq": seq}
