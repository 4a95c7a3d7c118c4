"""The agent fixture keeps its promises: a real agent, really killed, and the installed plugin that asks it."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest

from ledger.book import Book
from ledger.pools import parse
from ledger.store import Database
from tests.servers.agent import Agent, cni_env, k8s_ipam
from tests.servers.keeper import started
from tests.servers.process import DidNotStart

POOL = """
metadata: {name: ippool}
apiVersion: ipam.k8s.io/v1alpha1
kind: IPPool
spec: {ipPoolSubs: [{range: 10.19.120.10-10.19.120.250/24, netmaskBits: 24, gateway: 10.19.120.1}]}
"""


@pytest.fixture
def with_pool(db_url: str) -> str:
    database = Database(db_url)
    for spec in parse(POOL, "the test's pool"):
        Book(database, actor="test").apply_pool(spec)
    database.close()
    return db_url


def test_an_agent_killed_and_restarted_gives_the_same_answer(
    with_pool: str, agents: Callable[..., Agent]
) -> None:
    agent = agents(with_pool)
    before = k8s_ipam(cni_env("ADD"), agent.config())
    assert before.code == 0, before
    pid = agent.process.pid

    agent.kill9()
    assert started(pid) is None
    away = k8s_ipam(cni_env("ADD"), agent.config())
    assert (away.code, away.json["code"]) == (1, 11)

    agent.restart()
    assert k8s_ipam(cni_env("ADD"), agent.config()) == before


def test_an_agent_stops_gracefully(with_pool: str, agents: Callable[..., Agent]) -> None:
    agent = agents(with_pool)
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o600
    assert agent.stop() == 0
    assert not agent.socket.exists()


def test_an_agent_that_cannot_start_says_why(agents: Callable[..., Agent]) -> None:
    with pytest.raises(DidNotStart, match="nonsense"):
        agents("nonsense://nowhere")
