"""A node, and the IPAM plugins to run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.agent import Agent
from tests.servers.keeper import Keeper
from tests.system import node as nodes
from tests.system.ipam import HostLocal, Ipam, Ours
from tests.system.node import Network, Node


@pytest.fixture(scope="session")
def namespaces() -> None:
    """This process may make network namespaces and has the reference plugins."""
    nodes.requirements()


@pytest.fixture
def node(namespaces: None, keeper: Keeper, tmp_path: Path) -> Iterator[Node]:
    node = Node(keeper, tmp_path)
    yield node
    node.close()


@pytest.fixture(params=["agent", "agentless"])
def ours(request: pytest.FixtureRequest, tmp_path: Path, agents: Callable[..., Agent]) -> Ours:
    """``k8s-ipam``: through an agent on PostgreSQL as the writer role, and without an agent on SQLite."""
    if request.param == "agentless":
        return Ours(tmp_path, nodes.free_subnet(), request.getfixturevalue("empty_sqlite_url"), None)
    url = request.getfixturevalue("writer_url")
    return Ours(tmp_path, nodes.free_subnet(), url, agents(url))


@pytest.fixture(params=["host-local", "agent", "agentless"])
def ipam(request: pytest.FixtureRequest, tmp_path: Path) -> Ipam:
    """Ours, and the reference plugin, of which the same is true."""
    if request.param == "host-local":
        return HostLocal(tmp_path, nodes.free_subnet())
    made: Ours = request.getfixturevalue("ours")
    return made


@pytest.fixture(params=["bridge", "ptp"])
def network(request: pytest.FixtureRequest, node: Node, ipam: Ipam) -> Network:
    """A network with a main plugin that delegates to the IPAM plugin."""
    return make_network(node, ipam, request.param)


def make_network(node: Node, ipam: Ipam, main: str, version: str = "1.0.0") -> Network:
    # No masquerading: that would need iptables, which a kernel without modules has not.
    conf: dict[str, Any] = {"cniVersion": version, "name": "podnet", "type": main, "ipMasq": False}
    if main == "bridge":
        conf |= {"bridge": "cni0", "isGateway": True}
    return Network(node, conf | {"ipam": ipam.section()}, [*ipam.path, nodes.plugins_folder()])
