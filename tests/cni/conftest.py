"""Fixtures of this room: the plugin as ``install-cni`` writes it, and an agent in this process for the wide tests.

The agent of ``served`` is the real one on a real socket over a real database; only its process is the test's
own, which makes hundreds of calls cheap. ``test_agent_process`` runs it as a process and kills it.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cni import wire
from cni.agent import Agent
from cni.delqueue import DelQueue
from cni.desk import AgentDesk
from cni.express import Express
from cni.handlers import Handlers
from cni.install import command as install
from cni.memory import Memory
from cni.turns import Turns
from ledger.book import Book
from ledger.claims import Node
from ledger.events import Event
from ledger.pools import from_spec
from ledger.store import Database
from tests.servers.agent import cni_env

EXAMPLE = {
    "ipPoolSubs": [
        {
            "range": "10.19.120.0-10.19.123.254/22",
            "reservedRanges": ["10.19.122.230-10.19.122.255/22"],
            "netmaskBits": 22,
            "gateway": "10.19.123.254",
        }
    ]
}
POOLS: Mapping[str, Any] = {
    "ippool": EXAMPLE,
    "tiny": {"ipPoolSubs": [{"range": "192.168.7.1-192.168.7.2/24", "gateway": "192.168.7.254"}]},
    "other": {"ipPoolSubs": [{"range": "172.16.9.0/24", "gateway": "172.16.9.1"}]},
    "dual": {
        "ipPoolSubs": [
            {"range": "10.77.0.0/24", "gateway": "10.77.0.1"},
            {"range": "fd00:77::/64", "gateway": "fd00:77::1"},
        ]
    },
    "lopsided": {"ipPoolSubs": [{"range": "10.78.0.1-10.78.0.1/24"}, {"range": "fd00:78::/64"}]},
    "bare": {"ipPoolSubs": [{"range": "10.88.0.0/24"}]},
}


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The executable file."""
    folder = tmp_path_factory.mktemp("plugins")
    done = CliRunner().invoke(install, ["--to", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(folder / "k8s-ipam")


def altered(plugin: str, file: Path, old: str, new: str) -> str:
    """The plugin with one line of its source changed, and without its bytecode."""
    lines = Path(plugin).read_text().splitlines()
    tree = ast.parse("\n".join(lines))
    (source,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "SOURCE"
        and isinstance(node.value, ast.Constant)
    )
    assert isinstance(source, str)
    text, count = re.subn(f"(?m)^{old}$", new, source)
    assert count == 1
    file.write_text(f"{lines[0]}\n{text}")
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path: a unix socket's may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ipam-ledger-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Ended:
    """Evidence that the test decides: the names of pods that have ended."""

    def __init__(self) -> None:
        self.pods: set[str] = set()

    def ended(self, holder: Event) -> str | None:
        return "the test ended it" if holder.owner.pod in self.pods else None


@dataclass
class Said:
    """What the plugin would print and its exit status; ``json`` is None where it prints nothing."""

    status: int
    raw: bytes
    json: Any = field(init=False)

    def __post_init__(self) -> None:
        self.json = json.loads(self.raw) if self.raw else None

    @property
    def code(self) -> int | None:
        """The error code, None for success."""
        return None if self.status == 0 else self.json["code"]

    @property
    def ips(self) -> list[str]:
        return [entry["address"].split("/")[0] for entry in self.json["ips"]]


@dataclass
class Served:
    """An agent that serves, its book, and calls to it over the socket."""

    path: Path
    book: Book
    agent: Agent
    queue: DelQueue
    desk: AgentDesk
    evidence: Ended

    def conf(
        self,
        pool: str | None = "ippool",
        *,
        version: str = "1.0.0",
        more: Mapping[str, Any] = {},
        **ipam: Any,
    ) -> dict[str, Any]:
        for name in (pool, *ipam.get("ipPoolNames", ())):  # applied when first named: most tests need one
            if name in POOLS:
                self.book.apply_pool(from_spec(name, POOLS[name]))
        section = {"type": "k8s-ipam", "socket": str(self.path), **ipam}
        if pool is not None:
            section["ipPoolName"] = pool
        return {"cniVersion": version, "name": "podnet", "type": "bridge", "ipam": section, **more}

    def call(self, env: Mapping[str, str], stdin: Mapping[str, Any] | bytes) -> Said:
        raw = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        return ask(self.path, env, raw)

    def add(self, conf: Mapping[str, Any], **env: Any) -> Said:
        return self.call(cni_env("ADD", **env), conf)

    def delete(self, conf: Mapping[str, Any], **env: Any) -> Said:
        return self.call(cni_env("DEL", **env), conf)


def ask(path: Path, env: Mapping[str, str], stdin: bytes) -> Said:
    """One exchange, as the client does it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        pairs = [
            (key.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            for key, value in env.items()
        ]
        connection.sendall(wire.frame(wire.request(pairs, stdin)))
        body, rest = wire.read_frame(connection.recv)
    assert body is not None
    assert rest == b""
    return Said(*wire.parse_response(body))


@pytest.fixture
def serve(short: Path) -> Iterator[Callable[[str], Served]]:
    """``serve(url)`` → an agent over that database; ``conf`` applies the pools of ``POOLS`` as they are named."""
    made: list[Served] = []

    def start(url: str) -> Served:
        evidence = Ended()
        book = Book(Database(url), actor="agent/node1", evidence=evidence)
        path = short / f"agent{len(made)}.sock"
        queue = DelQueue(short / f"queue{len(made)}")
        containers = Turns()
        memory = Memory(queue.folder, book.database, node="node1", actor="agent/node1")
        desk = AgentDesk(book, queue, containers, memory)
        handlers = Handlers(desk, node=Node("node1"))
        agent = Agent(path, handlers.reply, express=Express(handlers, desk, containers))
        agent.open()
        agent.start()
        made.append(Served(path, book, agent, queue, desk, evidence))
        return made[-1]

    yield start
    for each in made:
        assert each.agent.stop(30)
        each.book.database.close()


@pytest.fixture
def served(serve: Callable[[str], Served], db_url: str) -> Served:
    """On both databases."""
    return serve(db_url)


@pytest.fixture
def on_sqlite(serve: Callable[[str], Served], sqlite_url: str) -> Served:
    """Where the database makes no difference."""
    return serve(sqlite_url)
