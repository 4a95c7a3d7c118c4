"""A picture of the API server's objects that a cut, a 410 or a restart makes late, but never wrong."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator

import pytest

from sync import kube
from sync.errors import ApiAway, Gone, NotFound, Refused
from sync.kube import PODS, Api, Resource
from sync.watch import Backoff, Mirror, Watch, forever, packed, read_pod
from tests.servers.apiserver import ControlPlane
from tests.servers.keeper import Keeper
from tests.sync.scene import delete_pod, pod, set_phase, wait_for


@contextlib.contextmanager
def following(api: Api) -> Iterator[tuple[Watch, Mirror[bytes]]]:
    mirror: Mirror[bytes] = Mirror(read_pod)
    watch = Watch(api, PODS, mirror)
    stop = threading.Event()
    thread = threading.Thread(target=forever, args=("pods", stop, watch.cycle), kwargs={"last": 0.5})
    thread.start()
    try:
        wait_for(mirror.listed.is_set)
        yield watch, mirror
    finally:
        stop.set()
        while thread.is_alive():
            watch.interrupt()
            thread.join(0.1)


def test_a_list_comes_page_by_page_and_is_metadata_only(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    for number in range(5):
        pod(cluster, namespace, f"p{number}")
    pages = [items for items, _ in api.pages(PODS, page=2)]
    assert max(len(page) for page in pages) == 2
    mine = [raw for page in pages for raw in page if raw["metadata"]["namespace"] == namespace]
    assert sorted(raw["metadata"]["name"] for raw in mine) == ["p0", "p1", "p2", "p3", "p4"]
    assert all("spec" not in raw for raw in mine)


def test_pods_come_and_go_and_a_finished_one_is_gone(cluster: ControlPlane, api: Api, namespace: str) -> None:
    early = pod(cluster, namespace, "early")
    pod(cluster, namespace, "done", phase="Succeeded")
    with following(api) as (_, mirror):
        assert mirror.get(f"{namespace}/early") == packed(early)
        assert f"{namespace}/done" not in mirror
        late = pod(cluster, namespace, "late", phase="Running")
        wait_for(lambda: mirror.get(f"{namespace}/late") == packed(late))
        set_phase(cluster, namespace, "late", "Failed")
        wait_for(lambda: f"{namespace}/late" not in mirror)
        delete_pod(cluster, namespace, "early")
        again = pod(cluster, namespace, "early")
        wait_for(lambda: mirror.get(f"{namespace}/early") == packed(again))


def test_a_mirror_pod_is_known_by_its_static_uid(cluster: ControlPlane, api: Api, namespace: str) -> None:
    with following(api) as (_, mirror):
        pod(cluster, namespace, "static", annotations={"kubernetes.io/config.mirror": "0123456789abcdef"})
        wait_for(lambda: mirror.get(f"{namespace}/static") == packed("0123456789abcdef"))


def test_it_goes_on_after_the_api_server_was_killed_and_its_history_compacted(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    gone = pod(cluster, namespace, "gone")
    with following(api) as (watch, mirror):
        assert mirror.get(f"{namespace}/gone") == packed(gone)
        cluster.kill9_apiserver()
        wait_for(lambda: watch.trouble, why="a watch that is cut is a trouble to tell")
        assert mirror.get(f"{namespace}/gone") == packed(gone), "nothing is forgotten while nothing is known"
        cluster.start_apiserver()
        delete_pod(cluster, namespace, "gone")
        new = pod(cluster, namespace, "new")
        cluster.compact()
        wait_for(lambda: mirror.get(f"{namespace}/new") == packed(new))
        wait_for(lambda: f"{namespace}/gone" not in mirror)
        wait_for(lambda: watch.trouble is None)  # the list is told before it is said that all is well


def test_it_goes_on_after_etcd_was_restored_to_an_earlier_day(
    control_plane: ControlPlane, keeper: Keeper
) -> None:
    """The versions begin again from there: for long, nothing is newer than what was seen before."""
    cluster = ControlPlane(control_plane.programs, keeper)  # for the others' controllers would not go on
    with contextlib.closing(cluster):
        cluster.start()
        gone = pod(cluster, "default", "gone")
        cluster.kill9_apiserver()
        cluster.etcd.kill9()
        shutil.copytree(cluster.folder / "etcd", cluster.folder / "backup")
        cluster.start()
        for number in range(20):
            pod(cluster, "default", f"later-{number}")
        delete_pod(cluster, "default", "gone")
        with contextlib.closing(Api.connect(cluster.kubeconfig)) as api, following(api) as (watch, mirror):
            assert "default/later-0" in mirror and "default/gone" not in mirror
            cluster.kill9_apiserver()
            cluster.etcd.kill9()
            shutil.rmtree(cluster.folder / "etcd")
            (cluster.folder / "backup").rename(cluster.folder / "etcd")
            cluster.start()
            new = pod(cluster, "default", "new")
            wait_for(lambda: mirror.get("default/new") == packed(new))
            assert mirror.get("default/gone") == packed(gone)
            assert "default/later-0" not in mirror
            wait_for(lambda: watch.trouble is None)


def test_a_list_is_no_success_where_no_watch_follows(cluster: ControlPlane, namespace: str) -> None:
    """Else everything would be listed again at once, as fast as the API server can."""
    cluster.kubectl("create", "serviceaccount", "lister", "-n", namespace)
    cluster.kubectl("create", "role", "lister", "-n", namespace, "--verb=list", "--resource=pods")
    account = f"{namespace}:lister"
    cluster.kubectl(
        "create", "rolebinding", "lister", "-n", namespace, "--role=lister", f"--serviceaccount={account}"
    )
    pod(cluster, namespace, "p")
    mirror: Mirror[bytes] = Mirror(read_pod)
    here = Resource("pods", f"/api/v1/namespaces/{namespace}/pods", metadata_only=True)
    with contextlib.closing(Api.connect(cluster.kubeconfig_for(namespace, "lister"))) as api:
        watch = Watch(api, here, mirror)
        for _ in range(2):
            with pytest.raises(Refused, match="cannot watch"):
                watch.cycle()
            assert f"{namespace}/p" in mirror
            assert "cannot watch" in str(watch.trouble)


def test_silence_leads_to_a_new_list_and_is_no_trouble(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    """Where nobody changes anything there may be no bookmark to send either."""
    mirror: Mirror[bytes] = Mirror(read_pod)
    here = Resource("pods", f"/api/v1/namespaces/{namespace}/pods", metadata_only=True)
    told: list[str | None] = []
    watch = Watch(api, here, mirror, silence=0.5, told=told.append)
    for number in range(2):
        pod(cluster, namespace, f"p{number}")
        assert "heard nothing of pods" in watch.cycle()
        assert f"{namespace}/p{number}" in mirror
    assert set(told) == {None}


def test_a_version_that_was_compacted_leads_to_a_new_list(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    old = cluster.request("GET", "/api/v1/pods?limit=1")["metadata"]["resourceVersion"]
    pod(cluster, namespace, "p")
    cluster.kill9_apiserver()
    cluster.compact()
    cluster.start_apiserver()  # its cache begins after what was compacted
    with pytest.raises(Gone):
        for change in api.watch(PODS, old, seconds=5):
            Watch(api, PODS, Mirror(read_pod))._apply(change)
    mirror: Mirror[bytes] = Mirror(read_pod)
    watch = Watch(api, PODS, mirror, seconds=2)
    watch._version = old
    assert "listing again" in watch.cycle()
    assert watch.cycle().startswith("watched")
    assert f"{namespace}/p" in mirror


def test_a_watch_can_be_ended_from_another_thread(api: Api, cluster: ControlPlane) -> None:
    version = cluster.request("GET", "/api/v1/pods?limit=1")["metadata"]["resourceVersion"]
    stream = api.watch(PODS, version, seconds=60)
    threading.Timer(0.2, stream.close).start()
    began = time.monotonic()
    assert [change["type"] for change in stream if change["type"] != "BOOKMARK"] == []
    assert time.monotonic() - began < 30, "the server ends it after a minute"


def test_a_server_that_is_away_is_away_at_once(cluster: ControlPlane) -> None:
    file = cluster.write_kubeconfig("away", "token")
    file.write_text(file.read_text().replace(str(cluster.port), "1"))
    with pytest.raises(ApiAway, match="cannot be reached"):
        Api.connect(file).call("GET", "/version")


def test_pauses_double_and_start_anew_after_success() -> None:
    backoff = Backoff(first=1, last=4)
    pauses = [backoff.pause() for _ in range(5)]
    assert all(step / 2 <= pause <= step for pause, step in zip(pauses, (1, 2, 4, 4, 4), strict=True))
    backoff.reset()
    assert backoff.pause() <= 1
    assert backoff.pause(at_least=30) == 30


def test_a_loop_goes_on_after_any_error() -> None:
    stop, calls = threading.Event(), []

    def cycle() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("surprise")
        stop.set()
        return "done"

    forever("test", stop, cycle, last=0.3)
    assert len(calls) == 3


def test_answers_that_are_no_answers() -> None:
    assert isinstance(kube.refusal(503, b"<html>"), ApiAway)
    assert isinstance(kube.refusal(429, b"{}", {"Retry-After": "7"}), ApiAway)
    assert kube.refusal(429, b"{}", {"Retry-After": "7"}).after == 7  # type: ignore[attr-defined]
    assert type(kube.refusal(404, b"404 page not found")) is Refused
    status = b'{"kind":"Status","reason":"NotFound","details":{"name":"x"},"message":"no x"}'
    assert type(kube.refusal(404, status)) is NotFound
