"""``db``: migrate the database; say where the schema and the append-only guard stand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.everywhere import Invocation, everywhere, options
from ledger.cli.lazy import Group

if TYPE_CHECKING:
    from ledger.store import Database

IN_FORCE: Final = "in force"


@click.group("db", cls=Group)
@options
def command() -> None:
    """Migrate the database, and say where its schema and the append-only guard stand.

    An embedded SQLite ledger is made by the first command that writes (a question makes none) and migrated by any; a
    PostgreSQL database only by `db upgrade`.

    \b
    Examples:
      ipam-ledger db upgrade --db postgresql+psycopg://owner@host/ledger
      ipam-ledger db check
    """


@command.command("upgrade", short_help="Bring the database to this program's schema.")
@click.option(
    "--sql",
    is_flag=True,
    help="Print the migrations' SQL for PostgreSQL instead, all of them; change nothing.",
)
@everywhere
def upgrade(invocation: Invocation, /, sql: bool) -> int:
    """Bring the database to this program's schema, one migration at a time, under a lock.

    On PostgreSQL it also makes the roles ipam_ledger_writer (appends, never changes) and ipam_ledger_auditor (reads), if this
    user may; else it prints the SQL for somebody who may. Safe to repeat, and to run from several places at once.

    \b
    Examples:
      ipam-ledger db upgrade --db postgresql+psycopg://owner@host/ledger
      ipam-ledger db upgrade --sql > review.sql
      ipam-ledger db upgrade | psql -U postgres ledger     # the roles, where this user may not make them

    Exit status: 0 the schema is this program's, 1 it could not be brought there, 2 wrong usage.
    """
    from ledger import migrate

    if sql:
        click.echo(migrate.upgrade_sql(), nl=False)
        return 0
    with invocation.database(head=False) as database:
        done = migrate.upgrade(database)
        label = database.label
    answer: dict[str, Any] = {
        "database": label,
        "before": done.before,
        "after": done.after,
        "rolesSQL": list(done.roles_sql),
    }

    def tell() -> None:
        moved = "was there already" if done.before == done.after else f"was {done.before or 'empty'}"
        click.echo(f"{label}: schema {done.after} ({moved})", err=bool(done.roles_sql))
        if done.roles_sql:
            click.echo("This user may not make the roles; somebody who may runs:", err=True)
            for statement in done.roles_sql:
                click.echo(f"{statement};")

    invocation.printer.one(answer, tell)
    return 0


@command.command("check", short_help="Say where schema and append-only guard stand.")
@everywhere
def check(invocation: Invocation, /) -> int:
    """Say where the schema stands, and whether the database still refuses to change the ledger.

    Triggers, CHECK constraints and indexes are looked at in the database's own catalogue: missing, disabled or replaced ones
    are named. So is an import that was interrupted. `verify` looks at the events themselves.

    \b
    Examples:
      ipam-ledger db check
      ipam-ledger db check -o json

    Exit status: 0 all as it should be, 1 it is not, 2 wrong usage.
    """
    from ledger.cli.output import Column

    with invocation.database(head=False) as database:
        rows = list(_stands(database))
        label = database.label
    ok = all(row["ok"] for row in rows)
    printer = invocation.printer
    if invocation.output in ("json", "yaml"):
        printer.one({"database": label, "ok": ok, "checks": rows})
    else:
        if invocation.human:
            rows = list(_in_short(rows))
        columns = (
            Column("WHAT", "what"),
            Column("OK", lambda row: "yes" if row["ok"] else "NO"),
            Column("STANDS", "stands"),
        )
        printer.rows(rows, columns)
    return 0 if ok else 1


def _in_short(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each kind of what is in force one row for all."""
    for (kind, stands), found in groupby(rows, key=lambda row: (row["what"].split()[0], row["stands"])):
        if stands == IN_FORCE:
            yield {"what": kind, "ok": True, "stands": f"{len(list(found))} {IN_FORCE}"}
        else:
            yield from found


def _stands(database: Database) -> list[dict[str, Any]]:
    from ledger.errors import Unfinished
    from ledger.schema import HEAD
    from ledger.store import guard

    def row(what: str, ok: bool, stands: str) -> dict[str, Any]:
        return {"what": what, "ok": ok, "stands": stands}

    if database.missing:
        return [
            row(
                "schema",
                False,
                f"{database.label} does not exist yet; the first `ipam-ledger pool apply` or `ipam-ledger db upgrade` makes it",
            )
        ]
    found = database.revision()
    if found == HEAD:
        out = [row("schema", True, f"{found}, this program's")]
    elif found is None:
        return [row("schema", False, f"{database.label} has no ledger yet; run `ipam-ledger db upgrade`")]
    elif found < HEAD:
        out = [row("schema", False, f"{found}, this program needs {HEAD}; run `ipam-ledger db upgrade`")]
    else:
        out = [row("schema", False, f"{found}, newer than this program's {HEAD}; upgrade ipam-ledger")]
    with database.read() as tx:
        for each in guard.look(tx) + guard.lookups(tx):
            out.append(row(f"{each.what} {each.name}", each.wrong is None, each.wrong or IN_FORCE))
        verbs = guard.privileges(tx)
    if _half_imported(database):
        out.append(row("import", False, str(Unfinished())))
    if verbs:
        out.append(
            row(
                "privileges", True,
                f"this user has {', '.join(verbs)} on the ledger (its owner, or a superuser): only the triggers stand between; "
                "let agents log in as members of ipam_ledger_writer",
            )
        )  # fmt: skip
    elif not database.sqlite:
        out.append(row("privileges", True, "this user can neither change nor remove an event"))
    return out


def _half_imported(database: Database) -> bool:
    from ledger.errors import DatabaseAway, SchemaMismatch
    from ledger.store import fences

    try:
        with database.read() as tx:
            return fences.half_imported(tx)
    except (DatabaseAway, SchemaMismatch):  # a user who may not read the events, or a table that is missing
        return False
