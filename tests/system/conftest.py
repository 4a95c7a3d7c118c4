"""A node, and the IPAM plugins to run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Ours:
    """``k8s-ipam``: through an agent on PostgreSQL as the writer role, and without an agent on SQLite."""
    return make_ours(request, tmp_path)


@pytest.fixture(params=["host-local", "agent", "agentless"])
def ipam(request: pytest.FixtureRequest, tmp_path: Path) -> Ipam:
    """Ours, and the reference plugin, of which the same is true."""
    if request.param == "host-local":
        return HostLocal(tmp_path, nodes.free_subnet())
    return make_ours(request, tmp_path)


def make_ours(request: pytest.FixtureRequest, folder: Path) -> Ours:
    if request.param == "agentless":
        return Ours(folder, nodes.free_subnet(), request.getfixturevalue("empty_sqlite_url"), None)
    owner, writer = request.getfixturevalue("postgres_url"), request.getfixturevalue("writer_url")
    return Ours(folder, nodes.free_subnet(), owner, request.getfixturevalue("agents")(writer))


@pytest.fixture(params=["bridge", "ptp", "macvlan"])
def main(request: pytest.FixtureRequest) -> str:
    """A main plugin, by its name."""
    name: str = request.param
    return name


@pytest.fixture
def network(node: Node, ipam: Ipam, main: str) -> Network:
    """A network with a main plugin that delegates to the IPAM plugin."""
    return make_network(node, ipam, main)


def make_network(node: Node, ipam: Ipam, main: str, version: str = "1.0.0") -> Network:
    # No masquerading: that would need iptables, which a kernel without modules has not.
    conf: dict[str, Any] = {"cniVersion": version, "name": "podnet", "type": main, "ipMasq": False}
    if main == "bridge":
        conf |= {"bridge": "cni0", "isGateway": True}
    if main == "macvlan":
        conf |= {"master": node.wire(), "mode": "bridge"}
    return Network(node, conf | {"ipam": ipam.section()}, [*ipam.path, nodes.plugins_folder()])
