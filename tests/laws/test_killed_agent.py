"""Agents are killed in mid-ADD while real plugin processes ask them: repeated ADDs and DELs make all of it true."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

import pytest

from ledger import pools
from ledger.book import Book
from ledger.store import Database
from tests.laws import crowd
from tests.laws.crowd import Answer, Life
from tests.servers.agent import Agent, cni_env, k8s_ipam
from tests.servers.agent import Answer as Said
from tests.servers.postgres import WRITER, PostgresServer

WRITERS = 6
KILLS = 3
CAPACITY = 253
POOL = {"ipPoolSubs": [{"range": "10.77.0.0/24", "netmaskBits": 24, "gateway": "10.77.0.254"}]}

pytestmark = pytest.mark.timeout(180)


class ByPlugin:
    """Asks by executing the plugin, as a runtime does. Error 11 is to be repeated; no other error may come."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.config = agent.config(pool="p")

    def add(self, owner: str, container: str) -> str | None:
        answer = self._run("ADD", container, pod=owner, uid=f"uid-{container}")
        if answer.code and answer.json["code"] == 100:
            return None
        assert answer.code == 0, answer
        [given] = answer.json["ips"]
        return str(given["address"].partition("/")[0])

    def delete(self, container: str) -> None:
        assert self._run("DEL", container, CNI_NETNS="").code == 0

    def _run(self, verb: str, container: str, **more: str) -> Said:
        answer = k8s_ipam(cni_env(verb, container=container, **more), self.config)
        if answer.code and answer.json["code"] == 11:
            raise crowd.Again(answer.json)
        assert answer.stderr == ""
        return answer


@contextmanager
def crowd_of(agents: list[Agent], answers: list[Answer], lives: list[Life]) -> Iterator[None]:
    """Writers whose pods come and go, each sandbox by some of the agents, until the block's end; all of them outlive it."""
    ended = Event()
    lives += [Life(f"w{n}", [ByPlugin(agent) for agent in agents], answers.append) for n in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as threads:
        running = [threads.submit(life.churn, 1_000_000, lambda: not ended.is_set()) for life in lives]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()


def more(answers: list[Answer], count: int = 2 * WRITERS) -> None:
    """Wait until there are so many more answers."""
    want, deadline = len(answers) + count, time.monotonic() + 60
    while len(answers) < want:
        assert time.monotonic() < deadline, "nobody is answered any more"
        time.sleep(0.005)


def judge(url: str, answers: list[Answer], lives: list[Life]) -> None:
    assert any(each.tries > 1 and each.verb == "ADD" for each in answers), "no ADD was in the middle"
    assert crowd.wrong(answers, CAPACITY) == []
    held = {each.owner: each.ip for each in answers if each.ip}
    with closing(Database(url)) as database:
        book = Book(database, actor="test")
        assert crowd.unlike(database, answers) == []
        assert crowd.proved(database) == []
        # The same ADDs once more: the same addresses, and nothing written
        events = count(database)
        for life in lives:
            for pod, (container, asker) in list(life.running.items())[:4]:
                assert asker.add(pod, container) == held[pod]
        assert count(database) == events
        # All of it given back: no address is missing
        for life in lives:
            for pod, (container, _) in life.running.items():
                assert [event.ip for event in book.release(crowd.attachment(container))] == [held[pod]]
        assert book.pool("p").free == CAPACITY
        assert crowd.proved(database) == []


def count(database: Database) -> int:
    with database.read() as tx:
        return int(tx.connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar_one())


def make_pool(url: str) -> None:
    with closing(Database(url)) as database:
        Book(database, actor="test").apply_pool(pools.from_spec("p", POOL))


def test_one_agent(db_url: str, agents: Callable[..., Agent]) -> None:
    make_pool(db_url)
    agent = agents(db_url)
    answers: list[Answer] = []
    lives: list[Life] = []
    with crowd_of([agent], answers, lives):
        for _ in range(KILLS):
            more(answers)
            time.sleep(random.uniform(0, 0.05))
            agent.kill9()
            agent.restart()
        more(answers)
    judge(db_url, answers, lives)


def test_two_agents_and_pods_that_move_between_them(
    postgres_url: str, writer_url: str, agents: Callable[..., Agent]
) -> None:
    make_pool(postgres_url)
    both = [agents(writer_url, node="node1"), agents(writer_url, node="node2")]
    answers: list[Answer] = []
    lives: list[Life] = []
    with crowd_of(both, answers, lives):
        for each in both:
            more(answers)
            each.kill9()
            time.sleep(random.uniform(0, 0.1))  # the other one goes on alone
            each.restart()
        more(answers)
    judge(postgres_url, answers, lives)


def test_an_agent_and_its_database_together(
    postgres_server: PostgresServer, agents: Callable[..., Agent]
) -> None:
    """DELs that the agent answered with success while the database was away are recorded in the end, kill or no kill."""
    url = postgres_server.url("ledger", user=WRITER)
    make_pool(url)
    agent = agents(url)
    answers: list[Answer] = []
    lives: list[Life] = []
    with crowd_of([agent], answers, lives):
        leaver = Life("leaver", [ByPlugin(agent)], answers.append)
        assert leaver.start("ns/leaver-pod")
        more(answers, 6 * WRITERS)
        postgres_server.kill9()
        leaver.end_all()  # the others may all be at an ADD, which they repeat until it is answered
        wait_for(lambda: any(agent.queue.glob("*.del")), "no DEL waits in the queue")
        agent.kill9()
        postgres_server.restart()
        agent.restart()
        more(answers)
    # what the agent remembers is there as well, sooner or later
    wait_for(
        lambda: all("memory.json" in each.name for each in agent.queue.iterdir()), "the queue is never empty"
    )
    judge(url, answers, lives)


def wait_for(what: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)
