"""A real PostgreSQL, started for the tests, ended with them.

One cluster for each pytest worker and not one for all: who follows the ledger waits behind the oldest
open transaction of the whole *cluster*, so a slow writer in one worker's test would hold up the others.
``fsync`` is on where a test kills the cluster, for what was committed must be on the disk then. The shared one, which nobody
kills, does without: it drops a thousand databases, and each waits for a checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from ledger.migrate import OLDEST
from tests.servers import need
from tests.servers.keeper import Keeper
from tests.servers.process import DidNotStart, Process

HOW = f"install PostgreSQL {OLDEST} or newer (Debian, Ubuntu: apt-get install postgresql)"
SUPERUSER = "postgres"
OWNER = "ledger_owner"
"""Owns the test databases. Not a superuser, as nobody's production owner is; it may create roles."""
WRITER = "test_writer"
AUDITOR = "test_auditor"
"""Users of the two group roles that ``db upgrade`` makes."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_min_messages": "warning",
    "max_wal_size": "256MB",
}


@dataclass(frozen=True)
class Programs:
    """Where initdb and postgres are, and the major version."""

    folder: Path
    major: int


def find() -> Programs | None:
    """PATH first, then Debian's folders, newest first; None if there is nothing new enough."""
    folders = [Path(found).parent] if (found := shutil.which("initdb")) else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: int(f.parent.name), reverse=True
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            said = subprocess.run(
                [folder / "postgres", "--version"], capture_output=True, text=True, check=True
            ).stdout
            major = int(re.search(r"(\d+)", said).group(1))  # type: ignore[union-attr]
            if major >= OLDEST:
                return Programs(folder, major)
    return None


def unprivileged() -> str | None:
    """Who runs the server: None for ourselves, or, as PostgreSQL refuses root, somebody who is not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise need.missing("a user other than root", "PostgreSQL refuses root; add a user named postgres")


def make_folder(keeper: Keeper, purpose: str) -> Path:
    """A folder that the unprivileged user owns, with a path short enough for a unix socket.

    Not in pytest's temporary folder: as root that one is closed to everybody else.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"ipam-ledger-{purpose}-", dir="/tmp"))
    keeper.remove(folder)
    if user := unprivileged():
        shutil.chown(folder, user)
    return folder


class PostgresServer:
    """One cluster. ``start`` · ``stop`` · ``kill9`` · ``restart``, and URLs to its databases."""

    def __init__(
        self,
        programs: Programs,
        keeper: Keeper,
        *,
        like: PostgresServer | None = None,
        settings: Mapping[str, str] = SETTINGS,
    ) -> None:
        """A new cluster; ``like``: copy the files of that one as initdb left them, which is quicker."""
        self.programs = programs
        self.folder = make_folder(keeper, "pg")
        self.port = free_port()
        self._user = unprivileged()
        self._keeper = keeper
        if like is None:
            self._run(
                "initdb",
                "-D",
                str(self.pristine),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "-E",
                "UTF8",
                "--locale=C",
            )
        source = self.pristine if like is None else like.pristine
        self._run_argv("cp", "-a", str(source), str(self.data))
        argv = [
            str(programs.folder / "postgres"),
            "-D",
            str(self.data),
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
        ]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self.process = Process(
            argv,
            log=self.folder / "postgres.log",
            keeper=keeper,
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back, clients are sent away
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pristine(self) -> Path:
        return self.folder / "pristine"

    def start(self) -> None:
        """Start, and return once it answers; crash recovery is over then."""
        self.process.start(self._answers, seconds=60)

    def stop(self) -> None:
        """Shut down cleanly."""
        self.process.stop()

    def kill9(self) -> None:
        """Kill the postmaster and every backend at one moment; nothing is flushed that was not."""
        self.process.kill9()

    def restart(self) -> None:
        """Start again, after ``kill9`` or (with a clean shutdown first) without."""
        self.process.stop()
        self.start()

    def close(self) -> None:
        """End it for good and remove its files."""
        self.process.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", *, user: str = OWNER, tcp: bool = False) -> str:
        """The SQLAlchemy URL of a database: by the unix socket, or by the loopback port."""
        if tcp:
            return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}&port={self.port}"

    def connect(
        self, database: str = "postgres", *, user: str = SUPERUSER, **options: Any
    ) -> psycopg.Connection[Any]:
        """A plain driver connection, autocommit unless told otherwise: for what a test wants to see or break."""
        options.setdefault("autocommit", True)
        return psycopg.connect(host=str(self.folder), port=self.port, dbname=database, user=user, **options)

    def create_owner(self) -> None:
        """The role that owns the test databases."""
        with self.connect() as db:
            db.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB").format(sql.Identifier(OWNER)))

    def create_logins(self) -> None:
        """``WRITER`` and ``AUDITOR``, once the migrations have made the roles that they belong to."""
        with self.connect() as db:
            for user, role in ((WRITER, "ipam_ledger_writer"), (AUDITOR, "ipam_ledger_auditor")):
                db.execute(
                    sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(
                        sql.Identifier(user), sql.Identifier(role)
                    )
                )

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database that ``OWNER`` owns; its URL."""
        with self.connect() as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template1")
                )
            )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, sending away whoever is still connected."""
        with self.connect() as db:
            db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _answers(self) -> bool:
        try:
            self.connect(connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *args: str) -> None:
        self._run_argv(str(self.programs.folder / program), *args)

    def _run_argv(self, *argv: str) -> None:
        group = pwd.getpwnam(self._user).pw_gid if self._user else None
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            user=self._user,
            group=group,
            extra_groups=[] if self._user else None,
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise DidNotStart(f"{' '.join(argv)}: {done.stderr or done.stdout}")


def as_user(user: str, url: str) -> str:
    """The same database as somebody else."""
    return make_url(url).set(username=user).render_as_string(hide_password=False)


_ours: dict[int, int] = {}
"""The ports of this process, each with the descriptor whose lock keeps it."""


def free_port() -> int:
    """A free loopback port below the ephemeral ones, so that nobody takes it while a server is down.

    Nor before it is up: other processes that run tests are kept from it, until this one's end, by a lock on its byte of a file.
    """
    locks = next(iter(_ours.values()), None)
    if locks is None:
        path = Path(tempfile.gettempdir()) / f"ipam-ledger-ports-{os.geteuid()}"
        locks = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    while True:
        port = random.randrange(20_000, 32_000)
        if port in _ours:
            continue
        try:
            fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        _ours[port] = locks
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class PgBouncer:
    """PgBouncer in transaction mode before every database of a server."""

    def __init__(self, program: str, server: PostgresServer, keeper: Keeper, *, pool_size: int = 20) -> None:
        self.folder = make_folder(keeper, "pgb")
        self.port = free_port()
        users = self.folder / "users.txt"
        users.write_text("".join(f'"{name}" ""\n' for name in (SUPERUSER, OWNER, WRITER, AUDITOR)))
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"""
[databases]
* = host={server.folder} port={server.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir = {self.folder}
auth_type = trust
auth_file = {users}
admin_users = {SUPERUSER}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
"""
        )
        user = unprivileged()
        for file in (users, config):
            if user:
                shutil.chown(file, user)
        self.process = Process(
            [program, str(config)],
            log=self.folder / "log",
            keeper=keeper,
            user=user,
            stop_signal=signal.SIGINT,
        )

    def start(self) -> None:
        self.process.start(self._answers)

    def close(self) -> None:
        self.process.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, user: str = OWNER) -> str:
        """The SQLAlchemy URL of a database through the bouncer."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}&port={self.port}"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
