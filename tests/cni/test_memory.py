"""An agent notices a database that went back in time: nothing is given out until somebody compared and lifted the fence."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from cni.memory import NAME, Memory
from ledger import fence
from ledger.book import Book
from ledger.claims import Claim, Node
from ledger.cli import main
from ledger.events import Attachment, Event, Owner
from ledger.pools import from_spec
from ledger.store import Database, fences
from ledger.store.fences import Fence
from tests.cni.conftest import EXAMPLE
from tests.servers.agent import Agent, Answer, cni_env, k8s_ipam

STATUS = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"}
BACK = "the ledger went back in time or is another one: node node1 wrote event"


class Copies:
    """A database of which copies are made and put back."""

    def __init__(self, url: str, request: pytest.FixtureRequest) -> None:
        self.url = url
        self._name = str(make_url(url).database)
        self._sqlite = url.startswith("sqlite")
        self._server: Any = None if self._sqlite else request.getfixturevalue("postgres")

    def keep(self) -> None:
        """Make a copy; nobody may be connected."""
        if self._sqlite:
            for extra in ("-wal", "-shm"):
                assert not Path(self._name + extra).exists()
            shutil.copyfile(self._name, self._name + ".copy")
        else:
            self._server.create_database(self._name + "_copy", template=self._name)

    def put_back(self) -> None:
        """Put it in the database's place, whoever is connected."""
        if self._sqlite:
            for extra in ("-wal", "-shm"):
                Path(self._name + extra).unlink(missing_ok=True)
            Path(shutil.copyfile(self._name + ".copy", self._name + ".new")).replace(self._name)
        else:
            self._server.drop_database(self._name)
            self._server.create_database(self._name, template=self._name + "_copy")

    def close(self) -> None:
        if self._server is not None:
            self._server.drop_database(self._name + "_copy")


@pytest.fixture
def copies(db_url: str, request: pytest.FixtureRequest) -> Iterator[Copies]:
    database = Database(db_url)
    Book(database, actor="test").apply_pool(from_spec("ippool", EXAMPLE))
    database.close()
    made = Copies(db_url, request)
    yield made
    made.close()


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


def add(agent: Agent, n: int) -> Answer:
    return k8s_ipam(cni_env("ADD", container=f"c{n}", pod=f"default/p{n}"), agent.config())


def given(agent: Agent, *numbers: int) -> None:
    for n in numbers:
        answer = add(agent, n)
        assert answer.code == 0, answer


def refused(agent: Agent) -> None:
    """Nothing is given out, STATUS says so, and DEL works."""
    answer = add(agent, 99)
    assert answer.json["code"] == 11 and BACK in answer.json["msg"], answer
    status = k8s_ipam(STATUS, agent.config(version="1.1.0"))
    assert status.json["code"] == 50 and BACK in status.json["msg"]
    assert k8s_ipam(cni_env("DEL", container="c1", pod="default/p1"), agent.config()).code == 0


def lift(url: str) -> None:
    said = CliRunner().invoke(main, ["fence", "lift", "--db", url, "--no-cluster", "--reason", "compared"])
    assert said.exit_code == 0, said.output


def remembered(agent: Agent) -> list[dict[str, Any]]:
    marks: list[dict[str, Any]] = json.loads((agent.queue / NAME).read_text())["marks"]
    return marks


def test_an_older_copy_is_noticed_at_the_start(copies: Copies, agents: Callable[..., Agent]) -> None:
    agent = agents(copies.url)
    given(agent, 1, 2)
    agent.stop()
    copies.keep()
    agent.start()
    given(agent, 3, 4)
    agent.stop()
    copies.put_back()
    agent.start()
    assert "the fence is raised: " + BACK in agent.process.output()
    refused(agent)
    lift(copies.url)
    given(agent, 5)
    agent.restart()
    given(agent, 6)
    database = Database(copies.url)
    assert [turn.raised for turn in turns(database)] == [False, True]
    database.close()


def test_an_older_copy_is_noticed_while_it_runs(copies: Copies, agents: Callable[..., Agent]) -> None:
    copies.keep()
    agent = agents(copies.url)
    given(agent, 1, 2)
    copies.put_back()
    refused(agent)
    lift(copies.url)
    given(agent, 3)
    assert agent.stop() == 0
    assert len(remembered(agent)) == 1
    agent.start()
    given(agent, 4)


def test_a_killed_agent_raises_no_false_alarm(copies: Copies, agents: Callable[..., Agent]) -> None:
    agent = agents(copies.url)
    given(agent, 1)
    agent.restart()
    before = remembered(agent)
    given(agent, 2, 3)
    agent.kill9()
    assert len(remembered(agent)) >= len(before)
    (agent.queue / NAME).write_text(json.dumps({"marks": before, "behind": None}))
    agent.start()
    given(agent, 4)
    assert "fence" not in agent.process.output()


# Without a process --------------------------------------------------------------------------------


def wrote(database: Database, n: int) -> list[Event]:
    claim = Claim(
        ("ippool",), Owner("ns", f"p{n}", f"u{n}"), Attachment(f"c{n}", "eth0", "net"), Node("node1")
    )
    return [each.event for each in Book(database, actor="test").allocate(claim) if each.event]


def memory(folder: Path, database: Database, node: str = "node1") -> Memory:
    return Memory(folder / node, database, node=node, actor=f"agent/{node}")


def turns(database: Database) -> list[Fence]:
    """Of the fence, newest first."""
    with database.read() as tx:
        return fences.turns(tx, 9)


def test_one_lift_satisfies_all(copies: Copies, database: Database, tmp_path: Path) -> None:
    """Those that looked before it, and those that were down; and what they wrote behind the fence is kept."""
    copies.keep()
    first, second, down = (memory(tmp_path, database, node) for node in ("one", "two", "down"))
    for n, each in enumerate((first, second, down)):
        each.note(wrote(database, n))
        each.save()
    copies.put_back()
    database.close()
    first.check()
    second.check()
    assert len(turns(database)) == 1
    fence.lift(database, reason="compared", actor="test")
    for each in (first, second, memory(tmp_path, database, "down")):
        assert each.check() == "the fence was lifted: what this node saw of the ledger before is forgotten"
        assert each.check() is None
        each.note(wrote(database, 7))
        assert each.check() is None
    assert len(turns(database)) == 2


def test_a_lift_counts_although_its_clock_is_slow(copies: Copies, database: Database, tmp_path: Path) -> None:
    copies.keep()
    seen = memory(tmp_path, database)
    (event,) = wrote(database, 1)
    seen.note([replace(event, at=event.at + timedelta(hours=1))])
    seen.check()
    seen.save()
    fence.lift(database, reason="compared", actor="test")
    again = memory(tmp_path, database)
    again.check()
    assert [turn.raised for turn in turns(database)] == [False, True]


def test_an_earlier_lift_does_not_count(copies: Copies, database: Database, tmp_path: Path) -> None:
    fence.raise_fence(database, reason="by hand", actor="test")
    fence.lift(database, reason="compared", actor="test")
    database.close()
    copies.keep()
    seen = memory(tmp_path, database)
    seen.note(wrote(database, 1))
    database.close()
    copies.put_back()
    seen.check()
    assert [turn.raised for turn in turns(database)] == [True, False, True]


def test_writing_past_the_place_does_not_hide_it(copies: Copies, database: Database, tmp_path: Path) -> None:
    """The ledger was set back, others wrote, and this node is again the newest before it looked."""
    copies.keep()
    seen = memory(tmp_path, database)
    seen.note(wrote(database, 1))
    seen.save()
    database.close()
    copies.put_back()
    for n in range(2, 6):
        events = wrote(database, n)
    seen.note(events)
    seen.save()
    memory(tmp_path, database).check()
    turn = fence.status(database)
    assert (
        turn is not None and turn.raised and "and in its place there is version 1 of 10.19.1" in turn.reason
    )


def test_a_fence_that_is_raised_is_left_as_it_is(copies: Copies, database: Database, tmp_path: Path) -> None:
    copies.keep()
    seen = memory(tmp_path, database)
    seen.note(wrote(database, 1))
    database.close()
    copies.put_back()
    fence.raise_fence(database, reason="by hand", actor="test")
    assert seen.check() == "the ledger does not hold what this node saw (1 event); the fence stands"
    assert seen.check() is None
    assert [turn.reason for turn in turns(database)] == ["by hand"]


def test_a_file_that_cannot_be_read_is_set_aside(
    copies: Copies, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, text in enumerate(
        ("", "{", "[]", '{"marks": [{}], "behind": null}', '{"marks": 1, "behind": 2}')
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / NAME).write_text(text)
        with caplog.at_level(logging.ERROR):
            seen = Memory(folder, database, node="node1", actor="agent/node1")
        assert "is set aside as" in caplog.messages[-1]
        assert (folder / "memory.broken").read_text() == text
        assert seen.check() is None
        seen.note(wrote(database, number))
        seen.save()
        assert len(json.loads((folder / NAME).read_text())["marks"]) == 1


def test_it_is_written_only_when_it_changed(copies: Copies, database: Database, tmp_path: Path) -> None:
    seen = memory(tmp_path, database)
    seen.save()
    file = tmp_path / "node1" / NAME
    assert not file.exists()
    seen.note(wrote(database, 1))
    seen.save()
    before = file.stat().st_ino
    time.sleep(0.01)
    seen.note([])
    seen.save()
    assert file.stat().st_ino == before
