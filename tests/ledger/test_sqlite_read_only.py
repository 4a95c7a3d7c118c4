"""A ledger file that may not be written: questions are answered as ever, writes are refused in words, and nothing changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.store import Database
from tests.ledger.cli import Cli
from tests.servers import need

IP = "10.9.0.1"
POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}], "pickStrategy": "Lowest"})
OBJECT = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "q"},
    "spec": {"ipPoolSubs": [{"range": "10.10.0.0/24"}]},
}
QUESTIONS = (
    ("who-had", IP),
    ("history", IP),
    ("explain", IP),
    ("pool", "list"),
    ("pool", "show", "p"),
    ("pool-at", "p", "--at", "2100-01-01T00:00:00Z"),
    ("tail",),
    ("check",),
    ("verify",),
    ("fence", "status"),
    ("db", "check"),
    ("export",),
)
SAME = [args for args in QUESTIONS if args[0] in ("who-had", "history", "pool-at", "tail", "verify")]
"""Those that are answered alike whenever they are asked."""
WRITES = (
    ("allocate", "p", "--name", "b", "--reason", "x"),
    ("release", IP, "--reason", "x"),
    ("pool", "apply", "-f", "-"),
    ("fence", "raise", "--reason", "x"),
)


def claim(name: str) -> Claim:
    return Claim(("p",), Owner("ns", name), Attachment(name, "eth0", "net"))


@pytest.fixture
def file(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Path]:
    """A ledger that nobody has open, in a folder of its own."""
    file = tmp_path / "kept" / "ledger.db"
    file.parent.mkdir()
    shutil.copyfile(migrated_sqlite, file)
    with closing(Database(f"sqlite:///{file}")) as database:
        book = Book(database, actor="test")
        book.apply_pool(POOL)
        book.allocate(claim("a"))
    assert sorted(file.parent.iterdir()) == [file]
    yield file
    file.parent.chmod(0o755)


@pytest.fixture(scope="session")
def powerless() -> Sequence[str]:
    """What to put before a command so that permissions mean something to it."""
    if os.geteuid() != 0:
        return ()
    words = [
        need.program("setpriv", "apt-get install util-linux"),
        "--bounding-set=-dac_override,-dac_read_search",
    ]
    if (
        subprocess.run([*words, "test", "-w", "/proc/version"], check=False, capture_output=True).returncode
        != 1
    ):
        need.missing("CAP_SETPCAP", "run the tests as a user, or as root with all capabilities")
    return words


ONE_BY_ONE = """
import json, sys
from click.testing import CliRunner
from ledger.cli import main
url, stdin, commands = json.load(sys.stdin)
done = [CliRunner().invoke(main, ["--db", url, *args], input=stdin) for args in commands]
text = lambda data: data.decode(errors="replace")
print(json.dumps([(each.exit_code, text(each.stdout_bytes), text(each.stderr_bytes), repr(each.exception)) for each in done]))
"""


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(file: Path, args: Sequence[str], before: Sequence[str] = ()) -> Said:
    return run_all(file, [args], before)[0]


def run_all(file: Path, commands: Sequence[Sequence[str]], before: Sequence[str] = ()) -> list[Said]:
    """Commands one after the other, all by one process, which takes half a second to start."""
    done = subprocess.run(
        [*before, sys.executable, "-c", ONE_BY_ONE],
        input=json.dumps([f"sqlite:///{file}", json.dumps(OBJECT), commands]),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = []
    for code, stdout, stderr, exception in json.loads(done.stdout):
        assert exception == "None" or exception.startswith("SystemExit"), exception
        found.append(Said(code, stdout, stderr))
    return found


def stands(file: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in file.parent.iterdir()}


MODES = pytest.mark.parametrize(
    ("mode", "folder"), [(0o444, 0o555), (0o644, 0o555), (0o444, 0o755)], ids=["both", "folder", "file"]
)


@MODES
def test_questions_are_answered(file: Path, powerless: Sequence[str], mode: int, folder: int) -> None:
    told = Cli(f"sqlite:///{file}")
    answers = {args: told("--db", told.url, *args).out for args in SAME}
    before = stands(file)
    file.chmod(mode)
    file.parent.chmod(folder)
    for args, said in zip(QUESTIONS, run_all(file, QUESTIONS, powerless), strict=True):
        assert (said.returncode, "Error" in said.stderr) == (0, False), args
        assert said.stdout == answers.get(args, said.stdout)
    assert stands(file)["ledger.db"] == before["ledger.db"]


@MODES
def test_writes_are_refused_and_change_nothing(
    file: Path, powerless: Sequence[str], mode: int, folder: int
) -> None:
    before = stands(file)
    file.chmod(mode)
    file.parent.chmod(folder)
    for args, said in zip(WRITES, run_all(file, WRITES, powerless), strict=True):
        assert (said.returncode, said.stdout) == (1, ""), args
        what = "the file" if mode == 0o444 else "its folder"
        assert f"cannot be written: {what}" in said.stderr and f"uid {os.geteuid()}" in said.stderr, (
            said.stderr
        )
    assert stands(file)["ledger.db"] == before["ledger.db"]


def test_what_a_living_writer_commits_is_seen(file: Path, powerless: Sequence[str]) -> None:
    with closing(Database(f"sqlite:///{file}")) as database:
        book = Book(database, actor="test")
        for name in ("b", "c"):
            book.allocate(claim(name))
            for each in file.parent.iterdir():
                each.chmod(0o444)
            file.parent.chmod(0o555)
            assert f"ns/{name}" in run(file, ("history", "--namespace", "ns"), powerless).stdout
            file.parent.chmod(0o755)


def test_a_log_that_cannot_be_read_without_writing_is_no_answer(
    file: Path, powerless: Sequence[str], tmp_path: Path
) -> None:
    """A copy of a ledger in use: half of it stands in the log, so the file by itself would be a wrong answer."""
    copy = tmp_path / "copy" / "ledger.db"
    copy.parent.mkdir()
    with closing(Database(f"sqlite:///{file}")) as database:
        Book(database, actor="test").allocate(claim("b"))
        for end in ("", "-wal"):
            shutil.copyfile(f"{file}{end}", f"{copy}{end}")
    copy.parent.chmod(0o555)
    said = run(copy, ("who-had", IP), powerless)
    copy.parent.chmod(0o755)
    assert (said.returncode, said.stdout) == (1, "")
    assert (
        "cannot be used: its folder may not be written" in said.stderr
        and "copy ledger.db and ledger.db-wal" in said.stderr
    )
    assert run(copy, ("who-had", "10.9.0.2"), powerless).stdout.startswith("pod ns/b has")


def test_an_answer_that_somebody_wrote_beneath_is_none(file: Path, powerless: Sequence[str]) -> None:
    asking = """
import sys
from ledger.errors import DatabaseAway
from ledger.store import Database, history
database = Database(sys.argv[1])
def ask():
    with database.read() as tx:
        found = len(list(history.pools(tx)))
        print("asked", flush=True)
        sys.stdin.readline()
    return found
for _ in range(3):
    try:
        print(ask(), flush=True)
    except DatabaseAway as away:
        print(away, flush=True)
"""
    file.parent.chmod(0o555)
    with subprocess.Popen(
        [*powerless, sys.executable, "-c", asking, f"sqlite:///{file}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None and child.stdin is not None

        def line(go: bool = False) -> str:
            assert child.stdout is not None and child.stdin is not None
            if go:
                child.stdin.write("\n")
                child.stdin.flush()
            return child.stdout.readline()

        assert line() == "asked\n"
        file.parent.chmod(0o755)
        with closing(Database(f"sqlite:///{file}")) as database:
            Book(database, actor="test").apply_pool(pools.from_object(OBJECT))
        file.parent.chmod(0o555)
        assert "was written while it was read; ask again" in line(go=True)
        assert line() == "asked\n"
        assert line(go=True) == "2\n"
        assert line() == "asked\n"
        assert line(go=True) == "2\n"


def test_what_is_missing_is_named(file: Path, powerless: Sequence[str]) -> None:
    file.chmod(0o000)
    said = run(file, ("who-had", IP), powerless)
    assert said.returncode == 1 and "the file may not be read" in said.stderr, said.stderr
    file.unlink()
    file.parent.chmod(0o555)
    made = ("pool", "apply", "-f", "crds/examples/ippool.json")
    asked, written = run_all(file, [("who-had", IP), made], powerless)
    assert asked.returncode == written.returncode == 1
    assert "there is no ledger at" in asked.stderr, asked.stderr
    assert "there is no such file, and its folder may not be written" in written.stderr, written.stderr
    assert list(file.parent.iterdir()) == []


def test_one_of_an_earlier_schema_is_named_as_such(file: Path, powerless: Sequence[str]) -> None:
    with closing(Database(f"sqlite:///{file}")) as database, database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    file.parent.chmod(0o555)
    said = run(file, ("who-had", IP), powerless)
    assert said.returncode == 1
    assert "is at schema 0000, this program needs " in said.stderr
    assert "cannot be written: its folder may not be written" in said.stderr


def test_a_read_only_mount(file: Path) -> None:
    if os.geteuid() != 0:
        need.missing("root", "run the tests as root: only it can mount")
    before = [
        need.program("unshare", "apt-get install util-linux"), "--mount", "sh", "-ec",
        'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; exec "$@"', str(file.parent),
    ]  # fmt: skip
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        need.missing("CAP_SYS_ADMIN", "run the tests where root may mount")
    there = stands(file)
    assert [said.returncode for said in run_all(file, QUESTIONS, before)] == [0] * len(QUESTIONS)
    for args, said in zip(WRITES, run_all(file, WRITES, before), strict=True):
        assert (said.returncode, said.stdout) == (1, ""), args
        assert "cannot be written: its file system is mounted read-only" in said.stderr, said.stderr
    assert stands(file) == there
