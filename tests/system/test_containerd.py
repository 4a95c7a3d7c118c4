"""Pod sandboxes by containerd's CRI plugin, as a kubelet asks for them, with the arguments that it really passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.keeper import Keeper
from tests.system import containerd, podman
from tests.system import node as nodes
from tests.system.containerd import Containerd, Refused
from tests.system.ipam import Ours
from tests.system.node import Node

pytestmark = pytest.mark.root


@pytest.fixture
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Ours:
    """Through an agent, as in a cluster."""
    owner, writer = request.getfixturevalue("postgres_url"), request.getfixturevalue("writer_url")
    return Ours(tmp_path, nodes.free_subnet(), owner, request.getfixturevalue("agents")(writer))


@pytest.fixture
def runtime(node: Node, ours: Ours, keeper: Keeper, tmp_path: Path) -> Iterator[Containerd]:
    containerd.requirements()
    podman.build_image(tmp_path)
    runtime = Containerd(node, keeper, tmp_path / "pause", ours.section(), ours.path)
    yield runtime
    runtime.close()


def test_sandboxes_have_their_pods_addresses_and_give_them_back(runtime: Containerd, ours: Ours) -> None:
    web, db = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    ips = runtime.ip(web), runtime.ip(db)
    assert [ours.holder(ip) for ip in ips] == [web, db]
    [event] = ours.history(ips[0])
    assert (event["namespace"], event["pod"], event["podUID"], event["containerID"], event["network"]) == (
        "default", "web-0", "uid-1", web, "podnet",
    )  # fmt: skip
    for _ in range(2):  # a kubelet stops a sandbox more than once, and removal is a DEL again
        runtime.stop(web)
        assert ours.holder(ips[0]) is None
    runtime.remove(web)
    assert ours.holder(ips[1]) == db
    runtime.stop(db)
    runtime.remove(db)
    assert [each["kind"] for each in ours.history(ips[0])] == ["Allocated", "Released"]
    ours.verify()


def test_a_sandbox_made_anew_under_the_same_uid_has_the_same_address(runtime: Containerd, ours: Ours) -> None:
    """The kubelet's way when a sandbox has died: DEL of the old one, then ADD of the new one, of the same pod."""
    old = runtime.run("default/web-0", "uid-1")
    had = runtime.ip(old)
    runtime.stop(old)
    new = runtime.run("default/web-0", "uid-1", attempt=1)
    assert runtime.ip(new) == had
    runtime.remove(old)  # the old one's DEL comes again
    assert ours.holder(had) == new
    ours.verify()


def test_the_late_del_of_a_sandbox_leaves_its_successor_alone(runtime: Containerd, ours: Ours) -> None:
    """A force-deleted StatefulSet pod: the new one starts while the old one's sandbox is still to be torn down."""
    old = runtime.run("default/web-0", "uid-1")
    new = runtime.run("default/web-0", "uid-2")
    had = runtime.ip(new)
    assert had == runtime.ip(old)
    runtime.stop(old)
    runtime.remove(old)
    assert ours.holder(had) == new
    assert [(each["kind"], each["podUID"], each["reason"]) for each in ours.history(had)] == [
        ("Allocated", "uid-1", "random"),
        ("Allocated", "uid-2", "reassigned"),
    ]


def test_without_its_agent_a_sandbox_is_refused_in_words_and_no_address_is_lost(
    runtime: Containerd, ours: Ours
) -> None:
    assert ours.agent is not None
    sandbox = runtime.run("default/web-0", "uid-1")
    had = runtime.ip(sandbox)
    ours.agent.stop()
    with pytest.raises(Refused, match="agent"):
        runtime.run("default/web-1", "uid-2")
    ours.agent.start()
    other = runtime.run("default/web-1", "uid-2", attempt=1)  # as a kubelet does after a failure
    assert runtime.ip(other) != had
    runtime.stop(sandbox)
    assert ours.holder(had) is None
    ours.verify()
