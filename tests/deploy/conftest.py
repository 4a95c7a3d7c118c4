"""Fixtures of this room: ``deployed``, a cluster with the manifests."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import ROOT
from tests.servers.apiserver import ControlPlane


@pytest.fixture(scope="session")
def deployed(cluster: ControlPlane) -> ControlPlane:
    cluster.kubectl("apply", "-k", str(ROOT / "deploy"))
    return cluster
