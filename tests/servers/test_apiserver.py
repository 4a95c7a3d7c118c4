"""The control plane of the tests is a real one: RBAC is on, history can be compacted, it survives kill -9."""

from __future__ import annotations

import os

import pytest

from tests.servers import kubeprograms
from tests.servers.apiserver import ApiError, ControlPlane


def test_it_is_the_pinned_release(control_plane: ControlPlane) -> None:
    assert control_plane.request("GET", "/version")["gitVersion"] == kubeprograms.KUBE.release()
    assert control_plane.kubectl("version", "-o", "json").returncode == 0


def test_rbac_is_on(control_plane: ControlPlane) -> None:
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "default"}}
    )
    token = control_plane.token("default", "nobody")
    with pytest.raises(ApiError) as refused:
        control_plane.request("GET", "/api/v1/pods", token=token)
    assert refused.value.code == 403
    assert "system:serviceaccount:default:nobody" in refused.value.status["message"]


def test_what_was_written_survives_a_killed_apiserver_and_old_revisions_can_be_compacted(
    control_plane: ControlPlane,
) -> None:
    made = control_plane.request(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        {"metadata": {"name": "kept"}, "data": {"a": "1"}},
    )
    path = "/api/v1/namespaces/default/configmaps/kept"
    control_plane.request("PATCH", path, {"data": {"a": "2"}})
    control_plane.kill9_apiserver()
    control_plane.compact()
    control_plane.start_apiserver()
    assert control_plane.request("GET", path)["data"] == {"a": "2"}
    with pytest.raises(ApiError) as gone:
        control_plane.request(
            "GET",
            "/api/v1/namespaces/default/configmaps?resourceVersionMatch=Exact"
            f"&resourceVersion={made['metadata']['resourceVersion']}",
        )
    assert gone.value.code == 410
    control_plane.request("DELETE", path)


def test_one_worker_has_all_that_need_it(request: pytest.FixtureRequest, control_plane: ControlPlane) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("this run has one process")
    assert request.node.nodeid.endswith("@kube"), "pytest-xdist did not see the group"
