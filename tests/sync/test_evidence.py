"""Evidence of a pod's end is positive, and asked of the API server at this moment; everything else is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sync.kube import Api, ApiEvidence, node_of
from tests.servers.apiserver import ControlPlane
from tests.sync.pages import event
from tests.sync.scene import delete_pod, pod, set_phase


def ended(api: Api, owner: str, uid: str | None, *, patient: bool = False) -> str | None:
    return ApiEvidence(api, patient=patient).ended(event("Allocated", ".1", owner, uid))


def test_a_pod_that_is_there_has_not_ended(cluster: ControlPlane, api: Api, namespace: str) -> None:
    uid = pod(cluster, namespace, "p")
    assert ended(api, f"{namespace}/p", uid) is None
    for phase in ("Running", "Unknown"):
        set_phase(cluster, namespace, "p", phase)
        assert ended(api, f"{namespace}/p", uid) is None
    assert ended(api, f"{namespace}/p", None) is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_finished_has_ended(
    cluster: ControlPlane, api: Api, namespace: str, phase: str
) -> None:
    uid = pod(cluster, namespace, "p", phase=phase)
    assert ended(api, f"{namespace}/p", uid) == f"pod has {phase.lower()}"


def test_a_pod_that_is_gone_or_is_another_one_has_ended(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    old = pod(cluster, namespace, "p")
    delete_pod(cluster, namespace, "p")
    assert ended(api, f"{namespace}/p", old) == "pod not found"
    new = pod(cluster, namespace, "p")
    assert ended(api, f"{namespace}/p", old) == f"pod has another UID now ({new})"
    assert ended(api, f"{namespace}/p", None) is None


def test_a_pod_that_is_being_deleted_still_runs(cluster: ControlPlane, api: Api, namespace: str) -> None:
    uid = pod(cluster, namespace, "p", finalizers=["example.org/wait"])
    delete_pod(cluster, namespace, "p")
    assert ended(api, f"{namespace}/p", uid) is None


def test_a_static_pod_may_run_before_the_api_server_hears_of_it(
    cluster: ControlPlane, api: Api, namespace: str
) -> None:
    static = "0123456789abcdef0123456789abcdef"
    assert ended(api, f"{namespace}/p", static) is None
    assert ended(api, f"{namespace}/p", static, patient=True) == "pod not found"
    pod(cluster, namespace, "p", annotations={"kubernetes.io/config.mirror": static})
    assert ended(api, f"{namespace}/p", static, patient=True) is None


def test_an_owner_that_is_no_pod_is_nobodys_to_judge(api: Api) -> None:
    assert ended(api, "some-container", None) is None


def test_who_may_not_look_knows_nothing(cluster: ControlPlane, namespace: str) -> None:
    cluster.request(
        "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "blind"}}
    )
    blind = Api.connect(cluster.kubeconfig_for(namespace, "blind"))
    assert ended(blind, f"{namespace}/p", "u") is None


def test_a_server_that_is_away_is_no_evidence_and_is_not_asked_again_at_once(cluster: ControlPlane) -> None:
    file = cluster.write_kubeconfig("nowhere", "token")
    with silent() as port:
        file.write_text(
            file.read_text().replace(f"https://127.0.0.1:{cluster.port}", f"http://127.0.0.1:{port}")
        )
        evidence = ApiEvidence(Api.connect(file), seconds=0.5, pause=30)
        began = time.monotonic()
        for _ in range(1000):
            assert evidence.ended(event("Allocated", ".1", "a/b", "u")) is None
        assert time.monotonic() - began < 20, "to wait for each would take eight minutes"


def test_what_a_proxy_says_is_no_evidence(tmp_path: Path, cluster: ControlPlane) -> None:
    file = cluster.write_kubeconfig("proxy", "token")
    with answering(404, b"<html>not here</html>") as port:
        file.write_text(
            file.read_text().replace(f"https://127.0.0.1:{cluster.port}", f"http://127.0.0.1:{port}")
        )
        assert ended(Api.connect(file), "a/b", "u") is None
    with answering(200, b"{}") as port:
        file.write_text(
            file.read_text().replace(file.read_text().split("127.0.0.1:")[1].split('"')[0], str(port))
        )
        assert ended(Api.connect(file), "a/b", "u") is None


def test_a_node_knows_its_addresses_and_labels(cluster: ControlPlane, api: Api) -> None:
    cluster.request("POST", "/api/v1/nodes", {"metadata": {"name": "n7", "labels": {"zone": "a"}}})
    addresses = [{"type": "InternalIP", "address": "10.1.2.3"}, {"type": "Hostname", "address": "n7"}]
    cluster.request("PATCH", "/api/v1/nodes/n7/status", {"status": {"addresses": addresses}})
    node = node_of(api, "n7")
    assert (node.name, node.addresses, node.labels) == ("n7", ("10.1.2.3",), {"zone": "a"})
    cluster.request("DELETE", "/api/v1/nodes/n7")


@contextmanager
def silent() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def answering(code: int, body: bytes) -> Iterator[int]:
    """A server that answers everything alike."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
