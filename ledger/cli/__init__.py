"""The command line: ``ipam-ledger``. One command or noun a file; it asks the book and the audit, and decides nothing.

This module is the root and knows every command by name only: a command's module is imported when it is called, so
``--help`` costs little more than click itself. To add a command, write ``ledger/cli/NAME.py`` with an attribute
``command`` (decorated with ``ledger.cli.everywhere.everywhere``) and a line in ``SECTIONS``.

Exit status: 0 answered, 1 a check failed or the thing asked about is unknown or cannot be done, 2 wrong usage,
130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

from typing import Final

import click

from ledger.cli.everywhere import options
from ledger.cli.lazy import Entry, Root

__all__ = ["main"]

SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "Database and pools": {
        "db": ("ledger.cli.db:command", "Migrate the database; say where schema and guard stand."),
        "pool": ("ledger.cli.pool:command", "Apply, list, show and delete pools."),
        "adopt": ("ledger.cli.adopt:command", "Take over what another IPAM has given out."),
        "allocate": ("ledger.cli.allocate:command", "Give an address out by hand."),
        "release": ("ledger.cli.release:command", "Take an address back by hand."),
    },
    "Questions": {
        "who-had": ("ledger.cli.who_had:command", "Who holds, or held, an address."),
        "history": ("ledger.cli.history:command", "The events of an address, pod, namespace or node."),
        "explain": (
            "ledger.cli.explain:command",
            "What an address is, since when, why, and what comes next.",
        ),
        "pool-at": ("ledger.cli.pool_at:command", "A whole pool at a moment."),
        "diff": ("ledger.cli.diff:command", "What changed in a pool between two moments."),
        "tail": ("ledger.cli.tail:command", "The newest events; follow them with -f."),
    },
    "Truth": {
        "check": ("ledger.cli.check:command", "Consistency, and leak candidates with evidence for each."),
        "verify": ("ledger.cli.verify:command", "Replay the ledger, compare it with the live state."),
        "replay": ("ledger.cli.replay:command", "Rebuild another database's state from this ledger."),
        "seal": ("ledger.cli.seal:command", "Fold new events into the Merkle tree and sign its head."),
        "keys": ("ledger.cli.keys:command", "Make and show the keys that sign checkpoints."),
        "prove": ("ledger.cli.prove:command", "Write a proof that an event is in the ledger."),
        "verify-proof": ("ledger.cli.verify_proof:command", "Check such a proof, without a database."),
    },
    "Loss and recovery": {
        "export": ("ledger.cli.export:command", "The ledger as one compressed, checkable file."),
        "import": ("ledger.cli.import_:command", "An export, or another IPAM's records, into a ledger."),
        "restore": ("ledger.cli.restore:command", "The ledger is lost: adopt what the cluster says."),
        "fence": ("ledger.cli.fence:command", "Whether addresses may be given out after a restore."),
    },
    "Daemons": {
        "agent": ("cni.main:command", "The node agent, which answers k8s-ipam."),
        "sync": ("sync.main:command", "The sync worker, between the API server and the ledger."),
        "install-cni": ("cni.install:command", "Put k8s-ipam where the container runtime looks."),
    },
}


@click.group(cls=Root, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=Root.show_version,
              help="Show the version and exit.")  # fmt: skip
@options
def main() -> None:
    """An IP address manager for Kubernetes whose source of truth is an append-only ledger in SQL.

    \b
    Examples:
      ipam-ledger pool apply -f ippool.yaml
      ipam-ledger who-had 10.19.120.7 --at 2026-11-24T14:05:00+01:00
      ipam-ledger history --pod default/web-0 --since -7d -o csv
      ipam-ledger verify

    --db, -o and --no-color may stand before or after a command's name. (After `export` and `prove`, -o names the file to
    write.) Times are RFC 3339 with an offset, or relative: -2h, -7d, now.

    Exit status: 0 answered (nobody is an answer), 1 a check failed or what was asked for is unknown or cannot be done,
    2 wrong usage.

    Shell completion: eval "$(_IPAM_LEDGER_COMPLETE=bash_source ipam-ledger)" (or zsh_source, fish_source).
    """
