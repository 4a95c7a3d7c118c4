"""The verbs of one container wait for each other: a DEL for the ADD that is still in flight."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator

import psycopg

from ledger.events import Attachment
from tests.cni.conftest import Said, Served

HELD = 0.5
"""Seconds that somebody else's transaction holds up what has come, well below the lock time-out."""


@contextlib.contextmanager
def held_up(served: Served) -> Iterator[None]:
    """No ADD and no DEL can be recorded meanwhile."""
    url = served.book.database.url
    if served.book.database.sqlite:
        with contextlib.closing(sqlite3.connect(str(url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn) as other:
            other.execute("LOCK TABLE address IN EXCLUSIVE MODE")
            yield
            other.rollback()


def until_in_flight(served: Served, verbs: dict[str, int]) -> None:
    """Wait until the agent has taken so many verbs of each container, and answered none of them."""
    deadline = time.monotonic() + 30
    while served.desk._containers.in_flight() != verbs:
        assert time.monotonic() < deadline, f"{verbs} are not in flight"
        time.sleep(0.001)


def test_a_del_waits_for_its_add(served: Served) -> None:
    """The runtime gave up on the ADD, whose client is gone, and sends DEL: nothing leaks."""
    conf = served.conf()
    served.add(conf, container="before", pod="default/before")
    said: dict[str, Said] = {}

    def call(name: str) -> None:
        verb, container = name.split()
        run = served.add if verb == "ADD" else served.delete
        said[name] = run(conf, container=container, pod=f"default/{container}")

    threads = []
    with held_up(served):
        for name, came in (
            ("ADD one", {"one": 1}),
            ("DEL one", {"one": 2}),
            ("ADD two", {"one": 2, "two": 1}),
        ):
            threads.append(threading.Thread(target=call, args=(name,)))
            threads[-1].start()
            until_in_flight(served, came)
        time.sleep(HELD)
        assert said == {}
    for thread in threads:
        thread.join(30)
    assert [said[name].status for name in ("ADD one", "DEL one", "ADD two")] == [0, 0, 0]
    assert served.book.held_by(Attachment("one", "eth0", "podnet")) == ()
    assert served.book.held_by(Attachment("two", "eth0", "podnet")) != ()
    assert served.book.pool("ippool").allocated == 2


def test_a_del_waits_for_an_add_that_looks_for_who_has_ended(served: Served) -> None:
    """A full pool sends the ADD the long way; the DEL that came behind it does not overtake it there."""
    conf = served.conf("tiny")
    for n in (1, 2):
        served.add(conf, container=f"old{n}", pod=f"default/old{n}")
    served.evidence.pods |= {"old1", "old2"}
    threads = [threading.Thread(target=run, args=(conf,), kwargs={"container": "new", "pod": "default/new"})
               for run in (served.add, served.delete)]  # fmt: skip
    with held_up(served):
        for came, thread in enumerate(threads, 1):
            thread.start()
            until_in_flight(served, {"new": came})
    for thread in threads:
        thread.join(30)
    assert served.book.held_by(Attachment("new", "eth0", "podnet")) == ()
    assert served.book.pool("tiny").allocated == 1  # one of the old was reclaimed


def test_many_verbs_of_few_containers_end_as_they_came(served: Served) -> None:
    """Each container's last verb decides; what is held in the end is held by those whose last verb was ADD."""
    conf = served.conf()

    def work(container: str, rounds: int) -> None:
        for i in range(rounds):
            run = served.add if i % 2 == 0 else served.delete
            assert run(conf, container=container, pod=f"default/{container}").status == 0

    threads = [threading.Thread(target=work, args=(f"c{n}", 10 + n % 2)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    holding = [n for n in range(8) if served.book.held_by(Attachment(f"c{n}", "eth0", "podnet"))]
    assert holding == [1, 3, 5, 7]
    assert served.book.pool("ippool").allocated == 4
