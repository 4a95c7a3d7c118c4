"""Fixtures of the room between the API server and the book."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sync.kube import Api
from tests.servers.apiserver import ApiError, ControlPlane

POOLS = "/apis/ipam.k8s.io/v1alpha1/ippools"
_numbers = itertools.count(1)


@pytest.fixture
def api(cluster: ControlPlane) -> Iterator[Api]:
    """Our own client, as the admin."""
    api = Api.connect(cluster.kubeconfig, seconds=5)
    yield api
    api.close()


@pytest.fixture
def namespace(cluster: ControlPlane) -> str:
    """A namespace of the test's own."""
    name = f"t{next(_numbers)}"
    with contextlib.suppress(ApiError):
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def pod(cluster: ControlPlane, namespace: str, name: str, phase: str | None = None, **metadata: Any) -> str:
    """Create a pod as a user would, and, as its kubelet, say its phase. Its UID."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = cluster.request(
        "POST",
        path,
        {
            "metadata": {"name": name, **metadata},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "pause"}]},
        },
    )
    if phase:
        set_phase(cluster, namespace, name, phase)
    uid: str = made["metadata"]["uid"]
    return uid


def set_phase(cluster: ControlPlane, namespace: str, name: str, phase: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
    cluster.request("PATCH", path, {"status": {"phase": phase}})


def delete_pod(cluster: ControlPlane, namespace: str, name: str) -> None:
    """Gone at once, as when its kubelet has confirmed its end."""
    body = {"gracePeriodSeconds": 0}
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body)


def wait_for(what: Callable[[], Any], *, seconds: float = 10.0, why: str = "") -> Any:
    """Whatever ``what`` says once it is true. An AssertionError of its own counts as not yet."""
    until = time.monotonic() + seconds
    while True:
        failed: AssertionError | None = None
        found = None
        try:
            found = what()
        except AssertionError as error:
            failed = error
        if found:
            return found
        if time.monotonic() > until:
            raise failed or AssertionError(f"not within {seconds} s: {why or what}")
        time.sleep(0.02)
