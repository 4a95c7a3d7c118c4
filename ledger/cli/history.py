"""``history``: the events, oldest first."""

from __future__ import annotations

from datetime import datetime

import click

from ledger.cli.everywhere import Invocation, everywhere
from ledger.cli.params import ANY_POD, IP, TIME, Count


@click.command()
@click.argument("ip", type=IP, required=False)
@click.option("--pod", type=ANY_POD, help="Events of this pod (also those that took an address from it).")
@click.option("--namespace", metavar="NAME", help="Events of this namespace's pods.")
@click.option(
    "--node", metavar="NAME", help="Events on this node. Best with --since: there is no index by node."
)
@click.option("--pool", metavar="NAME", help="Events of this pool and its addresses.")
@click.option("--since", type=TIME, help="From this moment on (included).")
@click.option("--until", type=TIME, help="Before this moment.")
@click.option("--limit", type=Count(min=1), metavar="N", help="Only the newest N of them.")
@everywhere
def command(
    invocation: Invocation,
    /,
    ip: str | None,
    pod: tuple[str, str] | None,
    namespace: str | None,
    node: str | None,
    pool: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> int:
    """List events, oldest first: of an address, a pod, a namespace, a node, a pool, a span of time; or all.

    All that is given must fit. Events stand in the order of their positions, which within an address is the order in which
    they happened.

    \b
    Examples:
      ipam-ledger history 10.19.120.7
      ipam-ledger history --pod default/web-0 --since -7d
      ipam-ledger history --node node1 --since -1h -o jsonl | jq .kind
      ipam-ledger history --since 2026-11-01T00:00:00+01:00 --until 2026-12-01T00:00:00+01:00 -o csv > november.csv

    Exit status: 0 answered (no event is an answer), 1 the address or pool is unknown, 2 wrong usage.
    """
    from ledger import audit
    from ledger.cli.events import COLUMNS, FIELDS

    if pod and namespace not in (None, pod[0]):
        raise click.UsageError(f"--namespace {namespace} is not the namespace of --pod {'/'.join(pod)}")
    if since and until and since >= until:
        raise click.UsageError("--since is not before --until")
    wanted = audit.Wanted(
        ip=ip,
        pool=pool,
        namespace=pod[0] if pod else namespace,
        pod=pod[1] if pod else None,
        node=node,
        since=since,
        until=until,
        limit=limit,
    )
    with invocation.reading() as database:
        rows = (event.to_json() for event in audit.events(database, wanted))
        invocation.printer.rows(rows, COLUMNS, fields=FIELDS, empty="no event fits")
    return 0
