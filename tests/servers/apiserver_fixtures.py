"""Fixtures of the API server, imported by ``tests/conftest.py``: one for each pytest worker, started when first asked for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import kubeprograms, need
from tests.servers.apiserver import ApiError, ControlPlane
from tests.servers.keeper import Keeper

_numbers = itertools.count(1)
CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def control_plane(keeper: Keeper) -> Iterator[ControlPlane]:
    """The run's API server. A test may kill and restart its apiserver, and leaves it running."""
    programs = kubeprograms.find()
    if programs is None:
        need.missing("a Kubernetes control plane", kubeprograms.HOW)
    server = ControlPlane(programs, keeper)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """The same with the IPPool's definition."""
    control_plane.apply(CRDS / "ippool.yaml")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/ippools.ipam.k8s.io")
    return control_plane


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own. Nothing of it runs afterwards: other tests count the cluster's pods."""
    name = f"t{next(_numbers)}"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    # Sets and jobs before their pods, which a controller would make anew.
    for kind in ("apis/apps/v1/{}/statefulsets", "apis/batch/v1/{}/jobs", "api/v1/{}/pods"):
        path = kind.format(f"namespaces/{name}")
        cluster.request("DELETE", f"/{path}?gracePeriodSeconds=0&propagationPolicy=Background")
    pods = f"/api/v1/namespaces/{name}/pods"
    for left in cluster.request("GET", pods)["items"]:  # those that a finalizer keeps
        with contextlib.suppress(ApiError):  # gone meanwhile
            cluster.request("PATCH", f"{pods}/{left['metadata']['name']}", {"metadata": {"finalizers": None}})


def mark(items: list[pytest.Item]) -> None:
    """One worker runs all that needs the API server, and the one-time build of it counts against no test."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kube)
            if item.get_closest_marker("xdist_group") is None:  # a second would make another group
                item.add_marker(pytest.mark.xdist_group("kube"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120, func_only=True))
