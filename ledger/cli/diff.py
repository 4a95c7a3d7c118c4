"""``diff``: what changed in a pool between two moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import TIME


@click.command()
@click.argument("pool")
@click.option("--from", "since", type=TIME, required=True, help="The earlier moment.")
@click.option("--to", "until", type=TIME, help="The later moment. Default: now.")
@everywhere
def command(invocation: Invocation, /, pool: str, since: datetime, until: datetime | None) -> int:
    """Show what changed in a pool between two moments: which addresses were given, passed on, held, freed; and its spec.

    Only what is different at the end: an address that came back to where it was is counted, not listed; `history --pool`
    lists every event.

    \b
    Examples:
      ipam-ledger diff ippool --from -1d --to now
      ipam-ledger diff ippool --from 2026-11-24T00:00:00+01:00 --to 2026-11-25T00:00:00+01:00 -o json

    Exit status: 0 answered (no change is an answer), 1 there was no such pool at either moment, 2 wrong usage.
    """
    from ledger import audit
    from ledger.cli.events import owner
    from ledger.cli.output import Column
    from ledger.events import rfc3339

    until = until or datetime.now(UTC)
    if since > until:
        raise click.UsageError("--from is after --to")
    with invocation.reading() as database:
        found = audit.diff(database, pool, since, until)
    printer = invocation.printer
    changes = [change.to_json() for change in found.changes]
    if invocation.output in ("json", "yaml"):
        before, after = found.spec_before, found.spec_after
        spec = {"before": before and dict(before.raw), "after": after and dict(after.raw)}
        printer.one(
            {
                "pool": pool,
                "from": rfc3339(since),
                "to": rfc3339(until),
                "spec": spec if found.spec_changed else None,
                "changes": changes,
                "back": found.back,
            }
        )
        return 0
    if invocation.human:
        columns = (
            Column("ADDRESS", "ip"),
            Column("CHANGE", "change"),
            Column("BEFORE", lambda row: _state(row["before"], owner)),
            Column("AFTER", lambda row: _state(row["after"], owner)),
            Column("EVENTS", "events", right=True),
        )
        if found.spec_changed:
            what = (
                "was created"
                if not found.spec_before
                else "was deleted"
                if not found.spec_after
                else "has another spec"
            )
            printer.line(f"pool {pool!r} {what}; -o yaml shows it before and after")
        printer.rows(changes, columns, empty=f"every address of pool {pool!r} is as it was")
        if found.back:
            printer.line(f"{found.back:,} more had events in between, and are what they were before")
        return 0
    flat = [
        {
            "ip": change["ip"],
            "change": change["change"],
            "events": change["events"],
            **{f"{when}{key[0].upper()}{key[1:]}": (change[when] or {}).get(key) for when in ("before", "after") for key in _FLAT},
        }
        for change in changes
    ]  # fmt: skip
    printer.rows(
        changes if invocation.output == "jsonl" else flat,
        (),
        fields=_FIELDS if invocation.output == "csv" else (),
    )
    return 0


_FLAT = ("state", "namespace", "pod", "podUID", "containerID", "node", "at", "seq")
_FIELDS = (
    "ip",
    "change",
    "events",
    *(f"{when}{key[0].upper()}{key[1:]}" for when in ("before", "after") for key in _FLAT),
)


def _state(event: dict[str, Any] | None, owner: Any) -> str:
    if event is None or event["state"] == "free":
        return "free"
    who = owner(event)
    return who if event["state"] == "allocated" else f"{event['state']}, {who}"
