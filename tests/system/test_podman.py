"""podman with the CNI backend keeps its addresses in the ledger: run, stop, start, ``--ip``, ``rm -f``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.keeper import Keeper
from tests.system import podman as podmen
from tests.system.ipam import Ipam, Ours
from tests.system.node import Node
from tests.system.podman import Failed, Podman

pytestmark = pytest.mark.root


@pytest.fixture(scope="session")
def image(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    podmen.requirements()
    return podmen.build_image(tmp_path_factory.mktemp("image"))


@contextmanager
def podman_with(ipam: Ipam, node: Node, image: Path, keeper: Keeper) -> Iterator[Podman]:
    podman = Podman(node, image, ipam.section(), ipam.path)
    keeper.remove(podman.folder)
    keeper.run(*podman.argv, "rm", "--all", "--force", "--time", "0")
    try:
        yield podman
    finally:
        podman.close()


@pytest.fixture
def podman(image: Path, node: Node, ipam: Ipam, keeper: Keeper) -> Iterator[Podman]:
    with podman_with(ipam, node, image, keeper) as podman:
        yield podman


def test_run_stop_start_rm(podman: Podman, ipam: Ipam) -> None:
    """The container holds its address while it runs, and only then."""
    container = podman.run("web-0")
    first = podman.ip("web-0")
    assert podman.inside("web-0") == [first]
    assert ipam.holder(first) == container

    podman("stop", "--time", "5", "web-0")
    assert ipam.holder(first) is None

    podman("start", "web-0")
    second = podman.ip("web-0")
    assert podman.inside("web-0") == [second]
    assert ipam.holder(second) == container

    podman("rm", "--force", "--time", "0", "web-0")
    assert ipam.holder(second) is None


def test_a_fixed_address(podman: Podman, ipam: Ipam) -> None:
    """``--ip`` gives that address; a second container that asks for it is refused, and takes nothing from the first."""
    wanted = ipam.ip(77)
    container = podman.run("web-0", "--ip", wanted)
    assert podman.ip("web-0") == wanted
    assert podman.inside("web-0") == [wanted]
    with pytest.raises(Failed, match=wanted):
        podman.run("web-1", "--ip", wanted)
    podman("rm", "--force", "--time", "0", "web-1")
    assert ipam.holder(wanted) == container
    podman("rm", "--force", "--time", "0", "web-0")
    assert ipam.holder(wanted) is None


def test_a_reloaded_network_keeps_its_address(podman: Podman, ipam: Ipam) -> None:
    """``network reload`` is DEL, then ADD with ``IP=`` of before."""
    container = podman.run("web-0")
    had = podman.ip("web-0")
    podman("network", "reload", "web-0")
    assert podman.inside("web-0") == [had]
    assert ipam.holder(had) == container


def test_a_full_pool_is_told_to_the_person(image: Path, node: Node, ipam: Ipam, keeper: Keeper) -> None:
    ipam.limit(10)
    with podman_with(ipam, node, image, keeper) as podman:
        container = podman.run("web-0")
        with pytest.raises(
            Failed, match="no free IPv4 address" if isinstance(ipam, Ours) else "no IP addresses available"
        ):
            podman.run("web-1")
        assert ipam.holder(ipam.ip(10)) == container


def test_the_ledger_tells_a_container_that_is_no_pod(
    image: Path, node: Node, ours: Ours, keeper: Keeper
) -> None:
    """Outside Kubernetes the owner is the container; its name is there for people to read."""
    with podman_with(ours, node, image, keeper) as podman:
        container = podman.run("web-0")
        held = ours.who_had(podman.ip("web-0"))
        assert held is not None
        assert (held["namespace"], held["pod"]) == (None, "web-0")
        assert (held["containerID"], held["network"]) == (container, "podnet")
        podman("stop", "--time", "5", "web-0")
        podman("rm", "web-0")
        assert [event["kind"] for event in ours.history(held["ip"])] == ["Allocated", "Released"]
        ours.verify()
