"""Pod sandboxes by containerd's CRI plugin, as a kubelet asks for them, with the arguments that it really passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.keeper import Keeper
from tests.system import containerd
from tests.system.containerd import Containerd, Refused, until
from tests.system.ipam import Ours
from tests.system.node import Node

pytestmark = pytest.mark.root

with_agent = pytest.mark.parametrize("ours", ["agent"], indirect=True)


@pytest.fixture(scope="session")
def client(namespaces: None) -> Path:
    return containerd.requirements()


@pytest.fixture(scope="session")
def archive(client: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return containerd.build_image(tmp_path_factory.mktemp("archive"))


@contextmanager
def runtime_with(ours: Ours, node: Node, archive: Path, client: Path, keeper: Keeper) -> Iterator[Containerd]:
    runtime = Containerd(node, archive, client, ours.section(), ours.path, keeper)
    try:
        runtime.boot()
        yield runtime
    finally:
        runtime.close()


@pytest.fixture
def runtime(ours: Ours, node: Node, archive: Path, client: Path, keeper: Keeper) -> Iterator[Containerd]:
    with runtime_with(ours, node, archive, client, keeper) as runtime:
        yield runtime


def kinds(ours: Ours, ip: str) -> list[tuple[str, str]]:
    """An address's history: what happened, and in which container's name."""
    return [(event["kind"], event["containerID"]) for event in ours.history(ip)]


def test_sandboxes_have_their_pods_addresses_and_reach_each_other(runtime: Containerd, ours: Ours) -> None:
    """The ledger, the runtime and the sandbox agree on the address, and the ledger names the pod."""
    web, db = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    for pod, uid, sandbox in (("web-0", "uid-1", web), ("db-0", "uid-2", db)):
        (add,) = runtime.calls(sandbox)
        assert {name: value for name, value in add.args.items() if name != "IgnoreUnknown"} == {
            "K8S_POD_NAMESPACE": "default",
            "K8S_POD_NAME": pod,
            "K8S_POD_UID": uid,
            "K8S_POD_INFRA_CONTAINER_ID": sandbox.container,
        }
        assert sandbox.namespace.addresses() == [f"{runtime.ip(sandbox)}/24"]
        held = ours.who_had(sandbox.ip)
        assert held is not None
        assert (held["namespace"], held["pod"], held["podUID"]) == ("default", pod, uid)
        assert (held["containerID"], held["network"], held["ifName"]) == (sandbox.container, "podnet", "eth0")
    assert web.ip != db.ip
    assert web.reaches(db) == web.ip
    assert db.reaches(web) == db.ip
    ours.verify()


@with_agent
def test_stop_and_remove_release_once(runtime: Containerd, ours: Ours) -> None:
    """A kubelet stops a sandbox more than once, and removal is a DEL again, without a namespace."""
    web, db = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    ips = web.ip, db.ip
    for _ in range(2):
        runtime.stop(web)
        assert ours.holder(ips[0]) is None
    runtime.remove(web)
    runtime.remove(web)
    first, *rest = [(call.verb, bool(call.netns)) for call in runtime.calls(web)]
    assert first == ("ADD", True)
    assert rest[0] == ("DEL", True)
    assert len(rest) >= 2
    assert set(rest[1:]) == {("DEL", False)}
    assert kinds(ours, ips[0]) == [("Allocated", web.container), ("Released", web.container)]
    assert ours.holder(ips[1]) == db.container
    ours.verify()


def test_a_sandbox_made_anew_under_the_same_uid_has_the_same_address(runtime: Containerd, ours: Ours) -> None:
    """The kubelet's way when a sandbox has died: DEL of the old one, then ADD of the new one, of the same pod."""
    old, other = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    had = old.ip
    runtime.kill_sandbox(old)
    until(lambda: not runtime.runs(old))
    runtime.stop(old)
    new = runtime.run("default/web-0", "uid-1", attempt=1)
    runtime.remove(old)  # the old one's DEL comes again
    assert [call.verb for call in runtime.calls(old)] == ["ADD", "DEL", "DEL"]
    assert (new.ip, runtime.ip(new)) == (had, had)
    assert other.reaches(new) == other.ip
    assert kinds(ours, had) == [
        ("Allocated", old.container),
        ("Released", old.container),
        ("Allocated", new.container),
    ]
    ours.verify()


@with_agent
@pytest.mark.parametrize(
    ("uid", "attempt"), [("uid-1", 1), ("uid-2", 0)], ids=["the same pod", "another pod"]
)
def test_the_late_del_of_a_sandbox_leaves_its_successor_alone(
    runtime: Containerd, ours: Ours, uid: str, attempt: int
) -> None:
    """The new sandbox starts while the old one is still to be torn down, of the same pod or, as when a StatefulSet's
    pod was force-deleted, of one of the same name."""
    old, other = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    had = old.ip
    new = runtime.run("default/web-0", uid, attempt=attempt)
    assert (new.ip, runtime.ip(new)) == (had, had)
    runtime.stop(old)
    runtime.remove(old)
    assert [call.verb for call in runtime.calls(old)] == ["ADD", "DEL", "DEL"]
    assert ours.holder(had) == new.container
    assert other.reaches(new) == other.ip
    assert [(each["kind"], each["podUID"], each["reason"]) for each in ours.history(had)] == [
        ("Allocated", "uid-1", "random"),
        ("Allocated", uid, "reassigned"),
    ]
    runtime.stop(new)
    assert ours.holder(had) is None
    ours.verify()


@with_agent
def test_without_its_agent_a_sandbox_is_refused_in_words_and_no_address_is_lost(
    runtime: Containerd, ours: Ours
) -> None:
    assert ours.agent is not None
    sandbox = runtime.run("default/web-0", "uid-1")
    ours.agent.stop()
    with pytest.raises(Refused, match="agent"):
        runtime.run("default/web-1", "uid-2")
    ours.agent.start()
    other = runtime.run("default/web-1", "uid-2", attempt=1)  # as a kubelet does after a failure
    had = sandbox.ip
    assert other.ip != had
    runtime.stop(sandbox)
    assert ours.holder(had) is None
    ours.verify()


@with_agent
def test_containerd_is_killed_and_comes_back(runtime: Containerd, ours: Ours) -> None:
    """A sandbox that lived through it has its address; one that did not is removed, and its address is free."""
    web, db = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    ips = web.ip, db.ip
    runtime.kill9()
    runtime.kill_sandbox(db)
    runtime.lose_netns(db)
    runtime.start()
    assert (runtime.runs(web), runtime.runs(db)) == (True, False)
    assert (web.ip, runtime.ip(web)) == (ips[0], ips[0])
    for sandbox, ip in zip((web, db), ips, strict=True):
        assert ours.holder(ip) == sandbox.container
        runtime.stop(sandbox)
        runtime.remove(sandbox)
        assert kinds(ours, ip) == [("Allocated", sandbox.container), ("Released", sandbox.container)]
    ours.verify()


@with_agent
def test_after_a_power_cut_pods_return_to_their_addresses(runtime: Containerd, ours: Ours) -> None:
    """No DEL came before it. The new sandbox takes over; what comes of the old one afterwards frees nothing."""
    old, gone = runtime.run("default/web-0", "uid-1"), runtime.run("default/db-0", "uid-2")
    had, freed = old.ip, gone.ip
    runtime.cut_power()
    runtime.boot()
    assert (runtime.runs(old), runtime.runs(gone)) == (False, False)
    new = runtime.run("default/web-0", "uid-1", attempt=1)
    assert (new.ip, runtime.ip(new)) == (had, had)
    for sandbox in (old, gone):
        runtime.stop(sandbox)
        runtime.remove(sandbox)
    assert ours.holder(had) == new.container
    assert kinds(ours, freed) == [("Allocated", gone.container), ("Released", gone.container)]
    ours.verify()


@with_agent
def test_a_full_pool_is_told_to_the_kubelet(
    ours: Ours, node: Node, archive: Path, client: Path, keeper: Keeper
) -> None:
    """It shows this sentence in the pod's events, and its next try goes well once there is room."""
    ours.limit(10)
    with runtime_with(ours, node, archive, client, keeper) as runtime:
        web = runtime.run("default/web-0", "uid-1")
        with pytest.raises(Refused, match="no free IPv4 address"):
            runtime.run("default/db-0", "uid-2")
        assert ours.holder(ours.ip(10)) == web.container
        runtime.stop(web)
        db = runtime.run("default/db-0", "uid-2")
        assert db.ip == ours.ip(10)
        assert ours.holder(db.ip) == db.container
        ours.verify()
