"""What parts measure on: servers, databases, agents, the installed plugin, and the floors; started when first asked for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from bench.part import Missing
from bench.plugin import Call
from bench.series import Series
from cni import install
from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.migrate import upgrade
from ledger.store import Database
from tests.servers import postgres
from tests.servers.agent import Agent, cni_env
from tests.servers.keeper import Keeper
from tests.servers.postgres import PostgresServer

ENGINES = ("postgresql", "sqlite")
LABEL = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
POOL = "bench"
POOL_OBJECT = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": POOL},
    "spec": {"ipPoolSubs": [{"range": "10.20.0.0/16", "gateway": "10.20.255.254"}]},
}
CAPACITY = 65_533
LEVELS = (0, 10_000, 60_000, CAPACITY * 99 // 100)
"""How many addresses of the /16 a prepared database may hold."""

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SETTINGS = {"shared_buffers": f"{MEMORY // 4 // 2**20}MB", "max_wal_size": "8GB"}
"""As for a ledger of its own machine (PostgreSQL manual, "Resource Consumption": a quarter of the memory)."""

INSERT = "INSERT INTO floor (note) VALUES ('one row')"


class Stage:
    """``rounds``: how many turns each part gets. ``say`` is told what is being set up.

    Whatever is lent here ends with ``close``, and by the keeper if this process is killed. Anything that the machine
    lacks raises Missing.
    """

    def __init__(
        self, rounds: int, folder: Path, keeper: Keeper, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.rounds = rounds
        self.round = 0
        self.folder = folder
        self.say = say
        self._keeper = keeper
        self._agents: dict[str, Agent] = {}
        self._prepared: dict[tuple[str, int], str] = {}
        self._names = 0

    def close(self) -> None:
        for agent in self._agents.values():
            agent.process.kill9()
            shutil.rmtree(agent.folder, ignore_errors=True)
        with contextlib.suppress(Missing):
            if "server" in self.__dict__:
                self.server.close()

    # Databases and agents ------------------------------------------------------------------------

    @cached_property
    def server(self) -> PostgresServer:
        """A cluster of our own, with fsync on, and set up as docs/postgresql.md asks for."""
        programs = postgres.find()
        if programs is None:
            raise Missing(f"PostgreSQL is missing: {postgres.HOW}")
        self.say("PostgreSQL")
        server = PostgresServer(programs, self._keeper, settings=postgres.SETTINGS | SETTINGS)
        server.start()
        server.create_owner()
        return server

    def database(self, engine: str, held: int = 0) -> str:
        """The URL of a database for the caller alone: migrated, with the pool ``POOL``, a /16 of which ``held`` are given out."""
        return self._clone(engine, self._prepare(engine, held))

    def empty(self, engine: str) -> str:
        """The URL of a database for the caller alone, migrated and nothing else."""
        return self._clone(engine, self._prepare(engine, -1))

    def agent(self, engine: str, held: int = 0, *, purpose: str = "add") -> Agent:
        """A running agent on such a database; the same one for the same ``purpose``."""
        key = f"{engine} {held} {purpose}"
        if key not in self._agents:
            url = self.database(engine, held)
            self.say(f"agent, {LABEL[engine]}, {held:,} held")
            agent = self._agents[key] = Agent(url, keeper=self._keeper)
            agent.start()
        return self._agents[key]

    def _prepare(self, engine: str, held: int) -> str:
        """A database that nobody else touches, to clone. Each is grown from the next smaller one."""
        if (engine, held) not in self._prepared:
            if held < 0:
                url = self._clone(engine, None)
            else:
                below = max((level for level in LEVELS if level < held), default=-1)
                url = self._clone(engine, self._prepare(engine, below))
            self.say(f"database, {LABEL[engine]}, {max(held, 0):,} held")
            database = Database(url)
            if held < 0:
                upgrade(database)
            else:
                grow(database, held)
            database.close()
            if engine == "postgresql":
                with self.server.connect(_name(url)) as db:
                    db.execute("VACUUM ANALYZE")
            self._prepared[engine, held] = url
        return self._prepared[engine, held]

    def _clone(self, engine: str, source: str | None) -> str:
        self._names += 1
        name = f"bench{self._names}"
        if engine == "postgresql":
            return self.server.create_database(name, template=_name(source) if source else None)
        path = self.folder / f"{name}.db"
        if source:
            shutil.copyfile(source.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"

    # Programs ------------------------------------------------------------------------------------

    @cached_property
    def plugin(self) -> Path:
        """``k8s-ipam`` as ``ipam-ledger install-cni`` writes it."""
        path = self.folder / "cni" / install.NAME
        path.parent.mkdir()
        install.put(path, install.render(install.base_interpreter(), Path(sys.executable)))
        return path

    @property
    def interpreter(self) -> Path:
        """What starts the plugin."""
        return install.base_interpreter()

    def add(self, agent: Agent, env: Mapping[str, str]) -> Call:
        """An execution of the plugin through an agent."""
        return Call(str(self.plugin), env, json.dumps(agent.config(pool=POOL)).encode())

    # Floors --------------------------------------------------------------------------------------

    def floor(self, clients: int, seconds: float = 2) -> tuple[float, list[float]]:
        """F1, F8, F32 …: the rate of pgbench's single-row inserts by so many clients, and the seconds of each."""
        program = self.server.programs.folder / "pgbench"
        found = str(program) if program.exists() else shutil.which("pgbench")
        if found is None:
            raise Missing("pgbench is missing: it comes with PostgreSQL (Debian: apt-get install postgresql)")
        script = self._floor_script
        self._names += 1
        log = self.folder / f"pgbench{self._names}"
        argv = [
            found, "-n", "-h", str(self.server.folder), "-p", str(self.server.port), "-U", postgres.SUPERUSER,
            "-c", str(clients), "-j", str(min(clients, 2)), "-T", f"{seconds:g}", "-f", str(script),
            "-l", "--sampling-rate=0.1", f"--log-prefix={log}", "floor",
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.M)
        assert rate, done.stdout
        logs = self.folder.glob(f"{log.name}.*")
        return float(rate[1]), [
            int(line.split()[2]) / 1e6 for file in logs for line in file.read_text().splitlines()
        ]

    @contextlib.contextmanager
    def beside(self, clients: int, floor: Series) -> Iterator[None]:
        """Measures the floor's rate before and after: what else the machine does comes and goes in seconds."""
        before, _ = self.floor(clients, 1)
        yield
        after, _ = self.floor(clients, 1)
        floor.add([(before + after) / 2])

    @cached_property
    def _floor_script(self) -> Path:
        self.server.create_database("floor")
        with self.server.connect("floor") as db:
            db.execute("CREATE TABLE floor (id bigserial PRIMARY KEY, note text)")
        script = self.folder / "insert.sql"
        script.write_text(f"{INSERT};\n")
        return script


def grow(database: Database, held: int) -> None:
    """Give out addresses until ``held`` are, each to a pod of its own."""
    book = Book(database, actor="bench")
    book.apply_pool(pools.from_object(POOL_OBJECT))
    have = book.pool(POOL).allocated
    while have < held:
        count = min(1_000, held - have)
        outcomes = book.allocate_many([claim(f"held-{n}") for n in range(have, have + count)])
        assert all(isinstance(outcome, tuple) for outcome in outcomes), outcomes
        have += count


def claim(name: str) -> Claim:
    """The ADD of a pod of this name, by itself in a container of its own."""
    return Claim((POOL,), Owner("default", name, f"uid-{name}"), Attachment(f"{name:>064}", "eth0", "podnet"))


def env(verb: str, name: str) -> dict[str, str]:
    """The same as a runtime says it."""
    return cni_env(verb, container=f"{name:>064}".replace(" ", "0"), pod=f"default/{name}", uid=f"uid-{name}")


def fresh() -> str:
    """A name that no pod ever had."""
    return os.urandom(8).hex()


def _name(url: str) -> str:
    found = re.search(r"@/(\w+)", url)
    assert found, url
    return found[1]
