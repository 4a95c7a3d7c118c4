"""The agent as a process: it says that it is ready, ends as it is asked, and may be killed at any moment."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cni import wire
from ledger.book import Book
from ledger.events import Attachment
from ledger.pools import from_spec
from ledger.store import Database
from tests.cni.conftest import EXAMPLE, Said, ask
from tests.servers.agent import cni_env, k8s_ipam
from tests.servers.keeper import Keeper
from tests.servers.process import DidNotStart, Process

Run = Callable[..., Process]


@pytest.fixture
def run(short: Path, keeper: Keeper) -> Iterator[Run]:
    """``run(url, options…)`` → a running agent on ``short/s``."""
    made: list[Process] = []

    def start(
        url: str, *options: str, path: str = "s", env: dict[str, str] | None = None, ready: str = " ready: "
    ) -> Process:
        argv = [sys.executable, "-m", "cni.main", "--db", url, "--socket", str(short / path), "--node", "node1",
                "--queue-dir", str(short / "queue"), *options]  # fmt: skip
        process = Process(
            argv, log=short / f"log{len(made)}", keeper=keeper, env={**os.environ, **(env or {})}
        )
        made.append(process)
        process.start(lambda: ready in process.output())
        return process

    yield start
    for process in made:
        process.kill9()
        print(process.output(since_start=False))


@pytest.fixture
def book(db_url: str) -> Iterator[Book]:
    book = Book(Database(db_url), actor="test")
    book.apply_pool(from_spec("ippool", EXAMPLE))
    yield book
    book.database.close()


def conf(short: Path, version: str = "1.1.0") -> dict[str, object]:
    return {
        "cniVersion": version,
        "name": "podnet",
        "ipam": {"ipPoolName": "ippool", "socket": str(short / "s")},
    }


def test_the_executable_and_the_agent(run: Run, short: Path, book: Book, db_url: str, plugin: str) -> None:
    agent = run(db_url)
    assert stat.S_IMODE((short / "s").stat().st_mode) == 0o600
    added = k8s_ipam(cni_env("ADD"), conf(short), program=plugin)
    assert (added.code, added.stderr) == (0, "")
    address = added.json["ips"][0]["address"]
    assert book.held_by(Attachment("sandbox1", "eth0", "podnet"))[0].ip == address.split("/")[0]
    check = k8s_ipam(cni_env("CHECK"), {**conf(short), "prevResult": added.json}, program=plugin)
    assert (check.code, check.json) == (0, None)
    assert k8s_ipam(cni_env("DEL"), conf(short), program=plugin).code == 0
    assert k8s_ipam(cni_env("STATUS"), conf(short), program=plugin).code == 0
    assert agent.stop() == 0
    assert "SIGTERM: finishing what runs" in agent.output()
    assert not (short / "s").exists()
    assert k8s_ipam(cni_env("ADD"), conf(short), program=plugin).json["code"] == 11


def test_kill_9_and_again(run: Run, short: Path, book: Book, db_url: str) -> None:
    """Killed in mid-ADD, again and again: no address twice, none lost, and the next agent takes the socket."""
    agent = run(db_url)
    stdin = json.dumps(conf(short)).encode()
    got: dict[str, str] = {}
    ended = threading.Event()

    def add(worker: int) -> None:
        n = 0
        while not ended.is_set():
            name = f"w{worker}-{n}"
            try:
                said = ask(short / "s", cni_env("ADD", container=name, pod=f"default/{name}"), stdin)
            except (OSError, AssertionError):  # the agent died; a runtime would ask again
                time.sleep(0.01)
                continue
            assert said.status == 0, said.json
            got[name] = said.ips[0]
            n += 1
            time.sleep(0.005)

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            more, deadline = len(got) + 4, time.monotonic() + 30
            while len(got) < more:
                assert time.monotonic() < deadline, "nobody is answered"
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.05))
            agent.kill9()
            agent.start(lambda: " ready: " in agent.output())
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert len(got) > 4
    assert len(set(got.values())) == len(got)
    for name, ip in got.items():
        assert [a.ip for a in book.held_by(Attachment(name, "eth0", "podnet"))] == [ip]
    assert book.pool("ippool").allocated <= len(got) + 4


def test_an_end_that_is_asked_for_finishes_what_runs(run: Run, short: Path, sqlite_url: str) -> None:
    import sqlite3

    book = Book(Database(sqlite_url), actor="test")
    book.apply_pool(from_spec("ippool", EXAMPLE))
    agent = run(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with in_flight(short) as connection:
        os.kill(agent.pid, signal.SIGTERM)
        time.sleep(0.3)
        other.execute("ROLLBACK")
        other.close()
        body, _ = wire.read_frame(connection.recv)
        assert Said(*wire.parse_response(body or b"")).status == 0
    assert agent.wait() == 0
    book.database.close()


@contextlib.contextmanager
def in_flight(short: Path) -> Iterator[socket.socket]:
    """A connection with an ADD that the agent has begun with."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(short / "s"))
        env = [(key.encode(), value.encode()) for key, value in cni_env("ADD").items()]
        connection.sendall(wire.frame(wire.request(env, json.dumps(conf(short)).encode())))
        deadline = time.monotonic() + 20
        while unread(connection):
            assert time.monotonic() < deadline, "the agent does not listen"
            time.sleep(0.001)
        time.sleep(0.3)
        yield connection


def unread(connection: socket.socket) -> int:
    """Bytes that its peer has not read yet (SIOCOUTQ; see unix(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(connection, termios.TIOCOUTQ, count)
    return count[0]


def test_a_second_signal_ends_it_at_once(run: Run, short: Path, sqlite_url: str) -> None:
    import sqlite3

    book = Book(Database(sqlite_url), actor="test")
    book.apply_pool(from_spec("ippool", EXAMPLE))
    book.database.close()
    agent = run(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with in_flight(short):
        os.kill(agent.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert agent.alive
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.wait(seconds=30) == 128 + signal.SIGTERM, "an end that finishes all has another status"
    other.close()


def test_a_second_agent_on_the_socket_is_refused_and_touches_no_del(
    run: Run, short: Path, sqlite_url: str
) -> None:
    agent = run(sqlite_url)
    being_written = short / "queue" / "del.tmp"
    being_written.touch()
    with pytest.raises(DidNotStart, match="another agent serves"):
        run(sqlite_url)
    assert agent.alive and being_written.exists()
    assert ask(short / "s", {"CNI_COMMAND": "VERSION"}, b"{}").status == 0


def test_it_starts_without_its_database_and_says_so(run: Run, short: Path) -> None:
    """A node may boot first."""
    agent = run("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")
    assert "starting without the database" in agent.output()
    stdin = json.dumps(conf(short)).encode()
    assert ask(short / "s", cni_env("ADD"), stdin).code == 11
    assert ask(short / "s", cni_env("STATUS"), stdin).code == 50


def test_queued_dels_are_recorded_after_a_restart(run: Run, short: Path, book: Book, db_url: str) -> None:
    """The database was away, then the agent died too."""
    from cni.delqueue import DelQueue

    agent = run(db_url)
    stdin = json.dumps(conf(short)).encode()
    assert ask(short / "s", cni_env("ADD"), stdin).status == 0
    agent.kill9()
    DelQueue(short / "queue").put(Attachment("sandbox1", "eth0", "podnet"))
    agent.start(lambda: "(1 waiting)" in agent.output())
    deadline = time.monotonic() + 20
    while book.held_by(Attachment("sandbox1", "eth0", "podnet")) or list((short / "queue").glob("*.del")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    agent.kill9()
    assert len(DelQueue(short / "queue")) == 0


def test_systemd_is_told(run: Run, short: Path, sqlite_url: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short / "notify"))
        manager.settimeout(20)
        agent = run(sqlite_url, env={"NOTIFY_SOCKET": str(short / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert agent.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (["--evidence", "maybe"], 2, "evidence: must be never"),
        (["--node-label", "zone"], 2, "'zone' is no KEY=VALUE"),
        (["--node-address", "node1"], 2, "--node-address: is not an IP address"),
        (["--db", "mysql://x"], 2, "database URL"),
        (["--db", ""], 2, "'--db': is empty"),
        (["--workers", "1"], 2, "--workers"),
        (["--socket", "/proc/none/s"], 1, "/proc/none"),
        (["--queue-dir", "/proc/version/q"], 1, "/proc/version/q"),
        (
            ["--queue-dir", "/proc/none"],
            1,
            "/proc/none",
        ),  # where a DEL could not wait, though nothing is there yet
    ],
)
def test_wrong_usage_is_named(
    short: Path, sqlite_url: str, options: list[str], status: int, why: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cni.main", "--db", sqlite_url, "--socket", str(short / "s"), "--queue-dir", str(short / "q"), *options],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == status
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_behind_is_named_with_the_cure(short: Path, empty_postgres_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cni.main", "--db", empty_postgres_url, "--socket", str(short / "s"), "--queue-dir", str(short / "q")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ipam-ledger db upgrade" in done.stderr
