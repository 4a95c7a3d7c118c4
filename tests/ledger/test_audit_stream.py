"""Histories: every event that fits, oldest first, however many pages they fill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger import audit
from ledger.audit import Wanted
from ledger.store import Database, history
from tests.ledger.chronicle import Chronicle


@pytest.fixture
def told(db_url: str) -> Iterator[Chronicle]:
    database = Database(db_url)
    yield Chronicle(database)
    database.close()


@pytest.mark.parametrize("relaunches", [0, 1, 2, 5])
def test_a_pod_that_was_relaunched_often_is_told_whole(
    told: Chronicle, relaunches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 3)
    told.write("""
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/web-0 uid=u0
        10:02 p 10.8.0.2 Allocated default/other uid=x
    """)
    for n in range(relaunches):
        told.write(f"10:{n + 3:02} p 10.8.0.1 Allocated default/web-0 uid=u{n + 1}")
    found = list(audit.events(told.database, Wanted(namespace="default", pod="web-0")))
    assert [event.owner.uid for event in found] == [f"u{n}" for n in range(relaunches + 1)]
    assert found == told.streams["p", "10.8.0.1"]
