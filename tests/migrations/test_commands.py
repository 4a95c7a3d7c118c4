"""Every command on a database that is empty, behind or ahead says so, names what mends it, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from ledger import migrate
from ledger.cli import main
from ledger.schema import HEAD
from ledger.store import Database
from tests.ledger.cli import Cli

POOL = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "p"},
    "spec": {"ipPoolSubs": [{"range": "10.9.0.0/24"}]},
}

# In each command line: ``pool.json`` is a pool's file, ``archive`` another ledger's export, ``new.db`` a database that is not there.
COMMANDS = """
    pool apply -f pool.json
    pool delete p
    pool list
    pool show p
    allocate p --name n --reason r
    release 10.9.0.1 --reason r
    who-had 10.9.0.1
    history
    explain 10.9.0.1
    pool-at p --at -1h
    diff p --from -1h
    tail
    check
    verify
    replay --into sqlite:///new.db
    seal --unsigned
    prove 1
    export
    adopt --from k8s-ipam pool.json --apply-pools
    import --from k8s-ipam pool.json --apply-pools
    import archive
    fence status
    fence raise --reason r
    fence lift --reason r
"""
OTHERS = {
    "db check",  # says where it stands: that is the answer
    "db upgrade",  # mends it
    "agent", "sync",  # wait for it; their own tests say how
    "restore",  # reads the cluster first; its own tests
    "keys generate", "keys show", "verify-proof", "install-cni",  # open no ledger
}  # fmt: skip


def names(group: click.Group, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from names(command, f"{before}{name} ")
        else:
            yield before + name


LINES = [line.strip() for line in COMMANDS.strip().splitlines()]


def test_every_command_is_tried_here() -> None:
    assert {
        name for name in names(main) if not any(f"{line} ".startswith(f"{name} ") for line in LINES)
    } == OTHERS


def empty(database: Database) -> None:
    pass


def behind(database: Database) -> None:
    migrate.upgrade(database, "0001")


def ahead(database: Database) -> None:
    migrate.upgrade(database)
    with database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (empty, "has no ledger yet; run `ipam-ledger db upgrade`"),
        (behind, f"is at schema 0001, this program needs {HEAD}; run `ipam-ledger db upgrade`"),
        (ahead, f"is at schema 9999, newer than this program's {HEAD}; upgrade ipam-ledger"),
    ],
)
def test_on_postgresql(
    empty_postgres_url: str,
    stands: Callable[[Database], None],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused(empty_postgres_url, stands, said, tmp_path, monkeypatch)


def test_on_a_newer_sqlite_file(
    empty_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one is brought up at its next use instead."""
    said = f"is at schema 9999, newer than this program's {HEAD}; upgrade ipam-ledger"
    refused(empty_sqlite_url, ahead, said, tmp_path, monkeypatch)


def refused(
    url: str,
    stands: Callable[[Database], None],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    Path("pool.json").write_text(json.dumps(POOL))
    Cli("sqlite:///other.db")("db", "upgrade")
    Cli("sqlite:///other.db")("export", "-o", "archive")
    cli = Cli(url)
    with closing(Database(url)) as database:
        stands(database)
        before = database.revision()
        for line in LINES:
            answer = cli(*line.split(), status=None)
            assert (answer.status, answer.out) == (1, ""), (line, answer)
            assert said in " ".join(answer.err.split()), (line, answer)
        assert database.revision() == before
        assert not Path("new.db").exists()
        if before is not None:
            with database.read() as tx:
                assert tx.connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar() == 0
