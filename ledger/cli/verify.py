"""``verify``: replay the ledger, compare it with the live state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere

if TYPE_CHECKING:
    from ledger.cli.output import Printer
    from ledger.verify import Report


@click.command()
@everywhere
def command(invocation: Invocation, /) -> int:
    """Replay the ledger and compare it with the live state, address by address and column by column.

    Also: every event may follow the one before it, no stream has a gap or goes back in time, pools are what their events say,
    exactly the addresses that pools give out can be picked, no address ever had two owners, and the database itself
    still refuses to change an event. Runs beside writers without blocking them, on one snapshot. What is wrong is
    named: which event, which address.

    \b
    Examples:
      ipam-ledger verify
      ipam-ledger verify -o json | jq '.checks[] | select(.ok | not)'

    Exit status: 0 the ledger holds, 1 it does not, 2 wrong usage.
    """
    from ledger.verify import CHECKS, verify

    checks = list(CHECKS)
    with invocation.database() as database, invocation.steps(len(checks)) as begin:
        report = verify(database, checks, begins=lambda check: begin(check.name))
    printer = invocation.printer
    if invocation.human:
        _tell(printer, report)
    elif invocation.output in ("json", "yaml"):
        printer.one(
            {
                "ok": report.ok,
                "events": report.events,
                "addresses": report.addresses,
                "checks": [
                    {
                        "name": each.check.name,
                        "holds": each.check.holds,
                        "ok": not each.findings,
                        "seconds": round(each.seconds, 3),
                        "findings": [finding.to_json() for finding in each.findings],
                        "more": each.more,
                    }
                    for each in report.checked
                ],
            }
        )
    else:
        rows = (
            {"check": each.check.name, **finding.to_json()}
            for each in report.checked
            for finding in each.findings
        )
        printer.rows(rows, (), fields=("check", "what", "pool", "ip", "seq"))
    return 0 if report.ok else 1


def _tell(printer: Printer, report: Report) -> None:
    from ledger.cli.output import printable

    width = max(len(each.check.name) for each in report.checked)
    for each in report.checked:
        printer.line(
            f"{each.check.name:<{width}}  {'FAILED' if each.findings else 'ok':<6}  {each.check.holds}"
        )
        for finding in each.findings:
            printer.line(f"{'':<{width}}    {printable(finding.what)}")
        if each.more:
            printer.line(f"{'':<{width}}    … and more")
    failed = sum(bool(each.findings) for each in report.checked)
    about = f"{report.events:,} events, {report.addresses:,} addresses"
    printer.line(
        f"{about}: the ledger holds"
        if not failed
        else f"{about}: the ledger does not hold; {failed} of {len(report.checked)} checks failed"
    )
