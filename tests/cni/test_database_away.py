"""The database goes away and comes back: the runtime is told to try again, and no DEL is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cni.chore import Chore
from ledger.errors import LockTimeout, TryAgain
from ledger.events import Attachment
from ledger.store import database
from tests.cni.conftest import Said, Served
from tests.servers.agent import cni_env
from tests.servers.postgres import PostgresServer


@pytest.fixture
def served(postgres_server: PostgresServer, serve: Callable[[str], Served]) -> Served:
    """On a cluster that may be killed."""
    return serve(postgres_server.url("ledger"))


def test_everybody_is_told_and_a_del_is_kept(served: Served, postgres_server: PostgresServer) -> None:
    conf = served.conf(version="1.1.0")
    result = served.add(conf, container="old").json
    postgres_server.kill9()
    assert served.add(conf, container="new", pod="default/new").code == 11
    assert served.call(cni_env("CHECK", container="old"), {**conf, "prevResult": result}).code == 11
    assert served.call(cni_env("GC"), {**conf, "cni.dev/valid-attachments": []}).code == 11
    assert served.call(cni_env("STATUS"), conf).code == 50
    assert served.delete(conf, container="old") == Said(0, b"")
    assert served.delete(conf, container="old") == Said(0, b"")
    assert len(served.queue) == 1
    with pytest.raises(TryAgain):
        served.desk.retry_queued()
    assert len(served.queue) == 1
    postgres_server.restart()
    assert served.desk.retry_queued() == "1 queued DEL(s) recorded"
    assert len(served.queue) == 0
    assert served.book.held_by(Attachment("old", "eth0", "podnet")) == ()
    assert served.add(conf, container="new", pod="default/new").status == 0
    assert served.call(cni_env("STATUS"), conf).status == 0


def test_a_queued_del_is_applied_before_the_next_add_of_its_container(
    served: Served, postgres_server: PostgresServer
) -> None:
    """podman stop and start: the same container id. Applied late, the DEL would free the new address."""
    conf = served.conf()
    served.add(conf, container="box", pod=None)
    postgres_server.kill9()
    served.delete(conf, container="box", pod=None)
    postgres_server.restart()
    said = served.add(conf, container="box", pod=None)
    assert said.status == 0
    assert len(served.queue) == 0
    assert served.desk.retry_queued() is None
    assert served.add(conf, container="box", pod=None).raw == said.raw


def test_a_lock_that_nobody_lets_go_of_keeps_one_del_waiting_not_all(
    postgres_url: str, serve: Callable[[str], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 300)
    served = serve(postgres_url)
    names = ("one", "two", "three")
    ips = [served.add(served.conf(), container=name, pod=f"default/{name}").ips[0] for name in names]
    for name in names:
        served.queue.put(Attachment(name, "eth0", "podnet"))
    dsn = served.book.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT 1 FROM address WHERE ip = %s FOR UPDATE", (ips[0],))
        with pytest.raises(LockTimeout):
            served.desk.retry_queued()
        assert served.queue.containers() == ["one"]
        assert served.book.pool("ippool").allocated == 1
    assert served.desk.retry_queued() == "1 queued DEL(s) recorded"


def test_a_del_that_cannot_even_be_queued_is_to_be_tried_again(
    served: Served, postgres_server: PostgresServer
) -> None:
    conf = served.conf()
    served.add(conf)
    Path(served.queue.folder).write_text("in the way")
    postgres_server.kill9()
    said = served.delete(conf)
    assert said.code == 11
    assert "cannot be queued" in said.json["msg"]
    postgres_server.restart()
    assert served.delete(conf).status == 0


def test_retries_come_later_and_later_until_one_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Exception | str | None] = [
        TryAgain("away"),
        TryAgain("away"),
        ValueError("a bug"),
        "2 done",
        None,
    ]

    def cycle() -> str | None:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    caplog.set_level("INFO")
    chore = Chore("work", cycle, seconds=1, at_most=3)
    pauses = []
    while outcomes:
        chore.once()
        pauses.append(chore.pause())
    for pause, wanted in zip(pauses, [2, 3, 3, 1, 1], strict=True):
        assert 0.74 * wanted < pause < 1.26 * wanted
    assert [record.getMessage() for record in caplog.records] == ["work: away", "work failed", "work: 2 done"]


def test_a_chore_ends_when_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []
    chore = Chore("work", lambda: ran.append(1), seconds=0.01, at_most=1)
    chore.start()
    while len(ran) < 3:
        pass
    chore.stop(5)
    after = len(ran)
    assert after >= 3
