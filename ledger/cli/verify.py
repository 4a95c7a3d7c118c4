"""``verify``: replay the ledger, compare it with the live state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.keyfiles import checkpoint_option, verifier
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.cli.output import Printer
    from ledger.verify import Report


@click.command()
@click.option(
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="A public key that signed checkpoints, as its line or its file (repeat for more). Default: IPAM_LEDGER_VERIFIER,"
    " else this machine's own, if it has one.",
)
@checkpoint_option
@everywhere
def command(invocation: Invocation, /, keys: tuple[str, ...], checkpoint: Path | None) -> int:
    """Replay the ledger and compare it with the live state, address by address and column by column.

    Also: every event may follow the one before it, no stream has a gap or goes back in time, pools are what their events say,
    exactly the addresses that pools give out can be picked, no address ever had two owners, the database itself still
    refuses to change an event, and events are what was sealed and signed (here, and in the checkpoint outside). Runs beside writers without blocking them, on one snapshot. What is wrong is
    named: which event, which address.

    \b
    Examples:
      ipam-ledger verify
      ipam-ledger verify --key ledger.example.pub --checkpoint /mnt/elsewhere/checkpoint
      ipam-ledger verify -o json | jq '.checks[] | select(.ok | not)'

    Exit status: 0 the ledger holds, 1 it does not, 2 wrong usage.
    """
    from ledger.seal import OutsideFile
    from ledger.seal_checks import checks as seal_checks
    from ledger.verify import CHECKS, verify

    outside = _outside(invocation, checkpoint)
    known = [verifier(key) for key in keys or _own_keys()]
    checks = [*CHECKS, *seal_checks(known, OutsideFile(outside) if outside else None)]
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


def _own_keys() -> tuple[str, ...]:
    """The key that the environment names, else this machine's own, where it has one."""
    from ledger.keys import default_key, public_path

    named = os.environ.get("IPAM_LEDGER_VERIFIER")
    own = public_path(default_key())
    return (named,) if named else (str(own),) if own.exists() else ()


def _outside(invocation: Invocation, named: Path | None) -> Path | None:
    """Where a checkpoint is kept outside. The default one is of this machine's ledger, and says nothing about another."""
    from ledger.keys import default_checkpoint

    if named is not None and not named.exists():
        raise click.BadParameter(f"{named} does not exist", param_hint="--checkpoint")
    own = default_checkpoint()
    return named or (own if own.exists() and not invocation.elsewhere else None)


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
    about = f"{counted(report.events, 'event')}, {counted(report.addresses, 'address')}"
    printer.line(
        f"{about}: the ledger holds"
        if not failed
        else f"{about}: the ledger does not hold; {failed} of {len(report.checked)} checks failed"
    )
