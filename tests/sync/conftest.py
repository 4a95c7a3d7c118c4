"""Fixtures of the room between the API server and the book."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sync.kube import Api
from tests.servers.agent import Agent
from tests.servers.apiserver import ControlPlane
from tests.servers.keeper import Keeper
from tests.sync.scene import Scene


@pytest.fixture
def api(cluster: ControlPlane) -> Iterator[Api]:
    """Our own client, as the admin."""
    api = Api.connect(cluster.kubeconfig, seconds=30)
    yield api
    api.close()


@pytest.fixture
def scene(
    cluster: ControlPlane, keeper: Keeper, agents: Callable[..., Agent], namespace: str, postgres_url: str
) -> Iterator[Scene]:
    """A cluster and a ledger on PostgreSQL, without a worker yet."""
    scene = Scene(cluster, keeper, agents, namespace, postgres_url)
    yield scene
    scene.close()
