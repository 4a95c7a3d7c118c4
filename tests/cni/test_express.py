"""Calls that come together are carried out together, and none suffers for another."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from cni import wire
from ledger.claims import Claim
from tests.cni.conftest import Said, Served
from tests.cni.test_order import held_up, until_in_flight
from tests.servers.agent import cni_env


class Crowd:
    """Many connections, each with one call that is sent at once and answered later."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._open: list[socket.socket] = []

    def send(self, conf: Mapping[str, Any] | bytes, verb: str = "ADD", **env: Any) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self._served.path))
        stdin = conf if isinstance(conf, bytes) else wire_json(conf)
        pairs = [(key.encode(), value.encode()) for key, value in cni_env(verb, **env).items()]
        connection.sendall(wire.frame(wire.request(pairs, stdin)))
        self._open.append(connection)

    def answers(self) -> list[Said]:
        """In the order in which they were sent."""
        said = []
        for connection in self._open:
            body, _ = wire.read_frame(connection.recv)
            assert body is not None
            said.append(Said(*wire.parse_response(body)))
            connection.close()
        self._open.clear()
        return said

    def close(self) -> None:
        for connection in self._open:
            connection.close()


def wire_json(conf: Mapping[str, Any]) -> bytes:
    return json.dumps(conf).encode()


@pytest.fixture
def crowd(served: Served) -> Iterator[Crowd]:
    made = Crowd(served)
    yield made
    made.close()


@pytest.fixture
def batches(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many claims and releases the book got at a time, from here on."""
    seen: list[int] = []

    def noting(real: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> Any:
        seen.append(len(items))
        return real(items)

    for name in ("allocate_many", "release_many"):
        monkeypatch.setattr(served.book, name, partial(noting, getattr(served.book, name)))
    return seen


def test_what_queued_together_is_one_batch(served: Served, crowd: Crowd, batches: list[int]) -> None:
    conf = served.conf()
    for verb, held in (("ADD", 31), ("DEL", 0)):
        batches.clear()
        with held_up(served):
            crowd.send(conf, verb, container="c0", pod="default/c0")
            while not batches:
                time.sleep(0.001)
            for n in range(1, 31):
                crowd.send(conf, verb, container=f"c{n}", pod=f"default/c{n}")
            until_in_flight(served, {f"c{n}": 1 for n in range(31)})
        answers = crowd.answers()
        assert {said.status for said in answers} == {0}
        assert sum(batches) == 31
        assert len(batches) < 16
        assert served.book.pool("ippool").allocated == held


def test_each_gets_an_address_of_its_own(served: Served, crowd: Crowd) -> None:
    conf = served.conf()
    for n in range(60):
        crowd.send(conf, container=f"c{n}", pod=f"default/c{n}")
    assert len({said.ips[0] for said in crowd.answers()}) == 60
    assert served.book.pool("ippool").allocated == 60


def test_a_wrong_call_among_right_ones_fails_alone(served: Served, crowd: Crowd) -> None:
    conf = served.conf()
    with held_up(served):
        crowd.send(conf, container="one", pod="default/one")
        crowd.send(served_without(conf), container="two", pod="default/two")
        crowd.send(b"{", container="three", pod="default/three")
        crowd.send(conf, container="", pod="default/four")
        crowd.send(conf, container="five", pod="default/five")
    codes = [said.code for said in crowd.answers()]
    assert codes == [None, 7, 6, 4, None]
    assert served.book.pool("ippool").allocated == 2


def served_without(conf: Mapping[str, Any]) -> dict[str, Any]:
    """The same, of a pool that does not exist."""
    return {**conf, "ipam": {**conf["ipam"], "ipPoolName": "nowhere"}}


def test_a_full_pool_is_searched_for_what_ended_by_each(served: Served, crowd: Crowd) -> None:
    conf = served.conf("tiny")
    for n in (1, 2):
        assert served.add(conf, container=f"old{n}", pod=f"default/old{n}").status == 0
    served.evidence.pods |= {"old1", "old2"}
    for n in range(3):
        crowd.send(conf, container=f"new{n}", pod=f"default/new{n}")
    codes = [said.code for said in crowd.answers()]
    assert sorted(codes, key=str) == [100, None, None]


def test_a_batch_that_breaks_is_carried_out_one_by_one(
    served: Served, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = served.conf()
    real = served.desk.allocate_many

    def break_on_many(claims: Sequence[Claim]) -> Any:
        if any(claim.owner.pod == "bad" for claim in claims):
            raise RuntimeError("a bug")
        return real(claims)

    monkeypatch.setattr(served.desk, "allocate_many", break_on_many)
    with held_up(served):
        for name in ("good", "bad", "fine"):
            crowd.send(conf, container=name, pod=f"default/{name}")
    assert [said.status for said in crowd.answers()] == [0, 0, 0]
    assert served.book.pool("ippool").allocated == 3


def test_the_same_call_twice_at_once_is_one_holding(served: Served, crowd: Crowd) -> None:
    conf = served.conf()
    with held_up(served):
        for _ in range(5):
            crowd.send(conf)
    assert len({said.raw for said in crowd.answers()}) == 1
    assert served.book.pool("ippool").allocated == 1


def test_no_turn_of_a_container_is_left_behind(served: Served, crowd: Crowd) -> None:
    conf = served.conf()
    for n in range(20):
        crowd.send(conf, container=f"c{n % 7}", pod=f"default/c{n % 7}", verb=("ADD", "DEL", "CHECK")[n % 3])
    crowd.answers()
    for n in range(7):
        with served.desk._containers(f"c{n}"):
            pass
    assert served.desk._containers.in_flight() == {}
