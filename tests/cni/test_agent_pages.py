"""The agent's pages: whether it lives, whether its database answers, and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from ledger import pools
from ledger.book import Book
from ledger.store import Database
from tests.servers.agent import Agent, cni_env, k8s_ipam
from tests.servers.keeper import Keeper
from tests.servers.page import page, samples
from tests.servers.postgres import free_port
from tests.servers.process import DidNotStart

POOL = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "ippool"},
    "spec": {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.2/24"}]},
}


@pytest.fixture
def agent(db_url: str, keeper: Keeper) -> Iterator[tuple[Agent, Callable[[str], tuple[int, str]]]]:
    with closing(Database(db_url)) as database:
        Book(database, actor="test").apply_pool(pools.from_object(POOL))
    port = free_port()
    running = Agent(db_url, keeper=keeper, options=["--listen", f"127.0.0.1:{port}"])

    running.start()
    yield running, lambda path: page(port, path)
    running.close()


def test_calls_are_counted_by_verb_and_code_and_timed(
    agent: tuple[Agent, Callable[[str], tuple[int, str]]],
) -> None:
    running, ask = agent

    def call(verb: str, n: int) -> int:
        env = cni_env(verb, container=f"c{n}", pod=f"default/web-{n}", uid=f"u{n}")
        return k8s_ipam(env, running.config(version="1.1.0")).code

    assert [call("ADD", 1), call("ADD", 2), call("ADD", 3), call("DEL", 1), call("STATUS", 1)] == [
        0,
        0,
        1,
        0,
        0,
    ]
    status, text = ask("/metrics")
    found = samples(text)
    assert status == 200
    assert found["ipam_ledger_cni_calls_total", "0", "ADD"] == 2
    assert found["ipam_ledger_cni_calls_total", "100", "ADD"] == 1
    assert found["ipam_ledger_cni_calls_total", "0", "DEL"] == 1
    assert (
        found["ipam_ledger_cni_seconds_count", "ADD"]
        == 3
        == found["ipam_ledger_cni_seconds_bucket", "+Inf", "ADD"]
    )
    assert 0 < found["ipam_ledger_cni_seconds_sum", "ADD"] < 60
    assert found["ipam_ledger_cni_queued_dels",] == 0
    assert found["process_resident_memory_bytes",] > 1e6


def test_probes_answer_and_other_paths_are_named(
    agent: tuple[Agent, Callable[[str], tuple[int, str]]],
) -> None:
    _, ask = agent
    assert ask("/healthz") == ask("/readyz?verbose") == (200, "ok\n")
    assert ask("/") == (404, "no such page; there are /healthz, /metrics, /readyz\n")


def test_an_agent_whose_socket_is_gone_is_to_be_restarted(
    agent: tuple[Agent, Callable[[str], tuple[int, str]]],
) -> None:
    """Nobody finds it any more, while it lacks nothing else."""
    running, ask = agent
    lost = (503, f"{running.socket} was removed or replaced: plugins find no agent there\n")
    running.socket.unlink()
    assert ask("/healthz") == lost
    running.socket.touch()
    assert ask("/healthz") == lost


def test_a_port_that_is_taken_or_is_none_is_wrong_usage(
    agent: tuple[Agent, Callable[[str], tuple[int, str]]], keeper: Keeper
) -> None:
    running, _ = agent
    taken = running.process.argv[-1]
    for listen, why in ((taken, "cannot be listened on"), ("127.0.0.1:x", "must be host:port")):
        other = Agent(running.url, keeper=keeper, options=["--listen", listen])
        with pytest.raises(DidNotStart, match=why):
            other.start()
        other.close()


def test_an_agent_without_its_database_lives_but_is_not_ready(keeper: Keeper) -> None:
    port = free_port()
    lonely = Agent(
        "postgresql+psycopg://nobody@127.0.0.1:1/none",
        keeper=keeper,
        options=["--listen", f"127.0.0.1:{port}"],
    )
    lonely.start()
    try:
        assert page(port, "/healthz") == (200, "ok\n")
        status, text = page(port, "/readyz")
        assert status == 503
        assert "cannot be reached" in text
        assert k8s_ipam(cni_env("DEL"), lonely.config()).code == 0
        assert samples(page(port, "/metrics")[1])["ipam_ledger_cni_queued_dels",] == 1
    finally:
        lonely.close()
