"""The command line as a whole: quick, lazy, one place for errors, options anywhere, and a good end whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import click
import pytest

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.cli import SECTIONS, main
from ledger.events import Attachment, Owner
from ledger.store import Database
from tests.ledger.cli import Cli, hears_interrupts

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
HEAVY = (
    "sqlalchemy",
    "psycopg",
    "alembic",
    "rich",
    "yaml",
    "kubernetes",
    "cryptography",
    "zstandard",
    "dateutil",
)


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    return Cli(sqlite_url)


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ledger.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=60)


def test_help_lists_every_command_and_imports_none() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom ledger.cli import main\ntry: main(['--help'])\n"
         "except SystemExit: print(*sorted(sys.modules), file=sys.stderr)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    modules = loaded.stderr.split()
    assert not [
        name for name in modules if name.split(".")[0] in HEAVY or name in ("ledger.errors", "ledger.store")
    ]
    assert "ledger.cli.lazy" in modules
    for name in COMMANDS:
        assert f"  {name} " in loaded.stdout
    assert "_IPAM_LEDGER_COMPLETE=bash_source" in loaded.stdout
    assert "Exit status: 0 answered" in loaded.stdout


def test_help_costs_little_more_than_python_itself() -> None:
    """The goal is 6; measured alternately, so that what else the machine does falls on both.

    Several times if need be: other work on the machine can make this look slower than it is, never quicker.
    """
    for _ in range(5):
        bare: list[float] = []
        ours: list[float] = []
        for _ in range(7):
            for found, command in ((bare, ["-c", "pass"]), (ours, ["-m", "ledger.cli", "--help"])):
                started = time.perf_counter()
                subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
                found.append(time.perf_counter() - started)
        if median(ours) / median(bare) < 9:
            return
    raise AssertionError((ours, bare))


def is_there(name: str) -> bool:
    return find_spec(COMMANDS[name][0].partition(":")[0]) is not None


def test_every_command_of_the_table_is_there() -> None:
    assert [name for name in COMMANDS if not is_there(name)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    """Its help has an example that names it, what its exit status says, and the options that every command takes."""
    if not is_there(name):
        pytest.skip("the test above says so")
    command = main.get_command(click.Context(main), name)
    assert command is not None
    paths = [(name, sub) for sub in command.commands] if isinstance(command, click.Group) else [(name,)]
    for path in paths:
        said = Cli("sqlite:///never-opened.db")(*path, "--help").out
        assert f"ipam-ledger {' '.join(path)}" in said.partition("Options:")[0].partition("\n")[2], (
            "an example"
        )
        assert re.search(r"Exit status:\s+0\s", said)
        if COMMANDS[name][0].startswith("ledger."):
            assert "--db URL" in said and "--no-color" in said
    said = Cli("sqlite:///never-opened.db")(name, "--help").out
    assert f"  ipam-ledger {name}" in said, "a group, too"
    assert "--db URL" in said or name == "install-cni"
    assert "..." not in said.partition("Commands:")[2], "what a verb does is not cut off"
    assert not Path("never-opened.db").exists()


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("whohad", "10.0.0.1"), "Did you mean who-had?"),
        (("help",), "Did you mean --help?"),
        (("pool", "shw", "p"), "Did you mean show?"),
        (("pool", "get"), "There are apply, delete, list, show."),
        (("frobnicate",), "There are db, pool, "),
    ],
)
def test_a_command_that_is_not_there_is_wrong_usage_with_a_hint(
    cli: Cli, args: tuple[str, ...], hint: str
) -> None:
    said = cli(*args, status=2)
    assert hint in said.err and said.out == ""


def test_a_command_whose_module_is_missing_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main._entries, "ghost", ("ledger.cli.no_such_module:command", "A ghost."))  # type: ignore[attr-defined]
    said = cli("ghost", status=1)
    assert "'ghost' is not part of this installation" in said.err


def test_no_command_shows_the_help() -> None:
    said = run()
    assert "Questions:" in said.stdout + said.stderr


def test_version() -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"ipam-ledger {version('ipam-ledger')}\n"


def test_options_stand_before_or_after_the_name(tmp_path: Path, cli: Cli) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert cli("-o", "json", "pool", "list").json == []
    assert cli("pool", "-o", "json", "list").json == []
    assert cli("pool", "list", "-o", "json").json == []
    assert cli("fence", "-o", "json", "status").json["raised"] is False
    assert cli("-o", "csv", "pool", "list", "-o", "json").json == [], "the last word wins"
    for args in (
        ("--db", other, "db", "check"),
        ("db", "--db", other, "check"),
        ("db", "check", "--db", other),
    ):
        assert "other.db does not exist yet" in cli(*args, status=1).out
    assert cli("--no-color", "pool", "list", "--no-color").status == 0
    assert "Invalid value for '-o'" in cli("-o", "xml", "pool", "list", status=2).err


def test_db_before_a_daemons_name_reaches_it(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """A daemon has a --db of its own, with the environment as its default: what was written wins, the later word first."""
    seen = []

    @click.command("ghost")
    @click.option("--db", envvar="IPAM_LEDGER_DB")
    def ghost(db: str) -> None:
        seen.append(db)

    import tests.ledger.cli as module

    monkeypatch.setattr(module, "ghost", ghost, raising=False)
    monkeypatch.setitem(main._entries, "ghost", ("tests.ledger.cli:ghost", "A ghost."))  # type: ignore[attr-defined]
    cli("ghost")
    cli("--db", "one", "ghost")
    cli("--db", "one", "ghost", "--db", "two")
    assert seen == [cli.url, "one", "two"]


def test_an_error_is_a_sentence_for_people_and_an_object_for_programs(cli: Cli) -> None:
    unknown = "10.9.9.9 belongs to no pool of this ledger; `ipam-ledger pool list` names them, `pool show NAME` the ranges of one"
    said = cli("who-had", "10.9.9.9", status=1)
    assert (said.out, said.err) == ("", f"Error: {unknown}\n")
    said = cli("who-had", "10.9.9.9", "-o", "json", status=1)
    assert said.out == ""
    assert json.loads(said.err) == {"error": unknown, "ip": "10.9.9.9"}
    assert "error" in json.loads(cli("-o", "jsonl", "pool", "show", "nope", status=1).err)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("who-had",), "Missing argument 'IP'"),
        (("who-had", "10.0.0"), "'10.0.0' is not an IP address"),
        (("who-had", "10.0.0.1/22"), "'10.0.0.1/22' is an address with a prefix: write 10.0.0.1"),
        (("explain", "FD00::1/64"), "'FD00::1/64' is an address with a prefix: write fd00::1"),
        (("who-had", "default/web-0"), "'default/web-0' is not an IP address"),
        (("who-had", "::ffff:10.0.0.1"), "'::ffff:10.0.0.1' is an IPv4-mapped address: write 10.0.0.1"),
        (("who-had", "10.0.0.1", "--at", "2026-11-24T10:00:00"), "has no offset"),
        (("who-had", "10.0.0.1", "--at"), "requires an argument"),
        (("history", "--pod", "web-0"), "write NAMESPACE/NAME"),
        (("history", "--pod", "default/a/b"), "is no pod"),
        (("history", "--pod", "/web-0"), "is no pod"),
        (("allocate", "p", "--pod", "default/Web_0", "--reason", "x"), "is no pod"),
        (("history", "--pod", "a/b", "--namespace", "c"), "is not the namespace of --pod"),
        (("history", "--since", "-1h", "--until", "-2h"), "--since is not before --until"),
        (("history", "--limit", "0"), "--limit"),
        (("pool-at", "p"), "Missing option '--at'"),
        (("diff", "p"), "Missing option '--from'"),
        (("diff", "p", "--from", "-1h", "--to", "-2h"), "--from is after --to"),
        (("pool", "apply"), "Missing option '-f'"),
        (("pool", "apply", "-f", "/no/such/file"), "No such file"),
        (("allocate", "p", "--reason", "x"), "either --name or --pod"),
        (("allocate", "p", "--name", "a/b", "--reason", "x"), "must be 1 to 253 letters"),
        (("allocate", "p", "--name", "a" * 254, "--reason", "x"), "must be 1 to 253 letters"),
        (
            ("allocate", "p", "--name", "a", "--reason", "ü" * 300),
            "is too long: make it 512 bytes at most; it has 600",
        ),
        (("allocate", "p", "--name", "a", "--reason", " "), "say why"),
        (("allocate", "p", "--name", "a", "--node-label", "x", "--reason", "x"), "write KEY=VALUE"),
        (("allocate", "p", "--name", "a"), "Missing option '--reason'"),
        (("release", "--reason", "x"), "say what"),
        (("release", "10.0.0.1", "--pod", "a/b", "--reason", "x"), "say what"),
        (("release", "--pod", "a/b", "--pool", "p", "--reason", "x"), "--pool goes with addresses"),
        (("release", "10.0.0.1"), "Missing option '--reason'"),
        (("check", "--evidence", "horoscope"), "must be never, file:"),
        (("verify", "--checkpoint", "/no/such/file"), "does not exist"),
        (("--db", "mysql://x/y", "pool", "list"), "not supported"),
        (("--db", "nonsense", "pool", "list"), "cannot be read"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(cli: Cli, args: tuple[str, ...], said: str) -> None:
    found = cli(*args, status=2)
    assert said in found.err and found.out == ""


def test_a_database_that_is_away_is_said(cli: Cli) -> None:
    said = cli(
        "--db", "postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2", "pool", "list", status=1
    )
    assert "cannot be reached" in said.err


def test_a_database_at_another_schema_is_named_with_the_command_that_mends_it(
    empty_postgres_url: str,
) -> None:
    said = Cli(empty_postgres_url)("pool", "list", status=1)
    assert "has no ledger yet; run `ipam-ledger db upgrade`" in said.err
    assert ":***@" in said.err or "@" not in said.err.split("//")[1] or "password" not in said.err


def test_an_embedded_ledger_is_made_at_first_use(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'ledger.db'}"
    Cli(url)("pool", "apply", "-f", "-", stdin=json.dumps(POOL))
    assert (tmp_path / "deep" / "ledger.db").exists()


def test_a_reader_that_goes_away_is_no_error(sqlite_url: str) -> None:
    """``… | head -1``, of more than a pipe holds"""
    with closing(Database(sqlite_url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(pools.from_object(POOL))
        book.allocate_many(
            [Claim(("p",), Owner(), Attachment(f"n{n}"), reason="x" * 400) for n in range(250)]
        )
    for output in ("jsonl", "csv", "table", "json", "yaml"):
        command = (
            f"set -o pipefail; {sys.executable} -m ledger.cli history -o {output} | head -c 10 > /dev/null"
        )
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            env={**os.environ, "IPAM_LEDGER_DB": sqlite_url},
        )
        assert (done.returncode, done.stderr) == (141, ""), output


def test_an_interrupt_ends_with_130_and_a_clean_line(sqlite_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ledger.cli", "tail", "-f", "-o", "csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "IPAM_LEDGER_DB": sqlite_url},
        preexec_fn=hears_interrupts,
    ) as following:  # fmt: skip
        try:
            assert following.stdout is not None
            assert following.stdout.readline().startswith("seq,at,kind")
            following.send_signal(signal.SIGINT)
            out, err = following.communicate(timeout=60)
        finally:
            following.kill()
    assert (following.returncode, out, err.strip()) == (130, "", "")


def test_completion_knows_commands_without_importing_them() -> None:
    done = run(_IPAM_LEDGER_COMPLETE="bash_complete", COMP_WORDS="ipam-ledger who", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,who-had"]
    done = run(_IPAM_LEDGER_COMPLETE="bash_complete", COMP_WORDS="ipam-ledger pool ", COMP_CWORD="2")
    assert set(done.stdout.split()) == {"plain,apply", "plain,delete", "plain,list", "plain,show"}


def test_who_writes_is_the_person(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.cli.everywhere import actor

    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert actor() == "cli/alice"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "bob")
    assert actor() == "cli/bob"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert actor() == "cli/alice", "a variable that anybody may set counts for root only"


POOL = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "p"},
    "spec": {"ipPoolSubs": [{"range": "10.8.0.0/24"}]},
}
