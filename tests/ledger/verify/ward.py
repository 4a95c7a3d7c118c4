"""A ledger with some of every kind of event, ways to damage it, and what ``verify`` finds then."""

from __future__ import annotations

from typing import Any

from ledger.store import Tx
from ledger.verify import CHECKS

STORY = """
    10:00 p PoolCreated 10.8.0.0/28
    10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 node=n1
    10:02 p 10.8.0.2 Allocated router
    10:03 p 10.8.0.1 Allocated default/web-0 uid=u2 node=n2
    10:04 p 10.8.0.3 Adopted default/db-0 uid=u3
    10:05 p 10.8.0.3 Held until=23:00
    10:06 p 10.8.0.4 Allocated default/x
    10:07 p 10.8.0.4 Released until=23:00
    10:08 p 10.8.0.5 Allocated default/y
    10:09 p 10.8.0.5 Reclaimed
    10:10 p PoolUpdated 10.8.0.0/27
    10:11 q PoolCreated 10.9.0.0/29
    10:12 q 10.9.0.1 Allocated default/z
    10:13 q 10.9.0.1 Released
    10:14 q PoolDeleted
"""
SEQ = {line.strip(): number for number, line in enumerate(STORY.strip().splitlines(), 1)}


def seq_of(words: str) -> int:
    """The position of the first event whose line holds these words."""
    return next(seq for line, seq in SEQ.items() if words in line)


class Undone(Exception):
    """Raised at the end of a transaction that is to be rolled back."""


def found(tx: Tx) -> dict[str, list[str]]:
    """What each check that found something found, within a transaction."""
    told_of = {check.name: [f.what for f in check.run(tx, lambda more: None)] for check in CHECKS}
    return {name: what for name, what in told_of.items() if what}


def change(tx: Tx, statement: str, *parameters: Any) -> None:
    """A statement on a table without a guard. Placeholders are ``{}``."""
    tx.connection.exec_driver_sql(statement.replace("{}", "?" if tx.sqlite else "%s"), parameters)


def tamper(tx: Tx, statement: str, *parameters: Any, table: str = "ledger") -> None:
    """A statement on the ledger, or another table that only grows, behind its guard's back."""
    if tx.sqlite:
        triggers = tx.connection.exec_driver_sql(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'"
        ).all()
        for name, _ in triggers:
            change(tx, f"DROP TRIGGER {name}")
        change(tx, statement, *parameters)
        for _, sql in triggers:
            change(tx, sql)
    else:
        change(tx, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        change(tx, statement, *parameters)
        change(tx, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
