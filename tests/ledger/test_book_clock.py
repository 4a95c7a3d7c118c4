"""The clock was set back: within a stream time still never goes back, and what was promised until then is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from ledger.store import Tx
from tests.ledger.pages import Page, StepByStep


@contextmanager
def ahead(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> Iterator[None]:
    """The database's clock is ahead. Seen only by what is settled step by step; what follows is written on every road."""
    plain = Tx.clock
    with monkeypatch.context() as patch:
        patch.setattr(Tx, "clock", lambda tx: plain(tx) + by)
        yield


def times(page: Page, ip: str | None) -> list[object]:
    where = f"l.ip = '{ip}'" if ip else "l.ip IS NULL"
    with page.database.read() as tx:
        return list(
            tx.connection.exec_driver_sql(
                f"SELECT l.at FROM ledger l JOIN pool p ON p.id = l.pool_id WHERE p.name = '{page.mark}p' AND {where}"
                " ORDER BY l.version"
            ).scalars()
        )


def test_the_stream_of_an_address(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.pool("10.9.0.1-10.9.0.1/24")
    with ahead(monkeypatch, timedelta(hours=1)):
        book = page.book
        page.book = StepByStep(page.database, actor="test")
        page.tell("ADD ns/a c1           -> 10.9.0.1 lowest")
        page.book = book
    page.tell("""
        ADD ns/a c2                  -> 10.9.0.1 reassigned
        DEL c2                       -> 10.9.0.1 free
        ADD ns/a c3                  -> 10.9.0.1 returning
        TAKE 10.9.0.1                -> 10.9.0.1 free
        ADD ns/b c4                  -> 10.9.0.1 lowest
        HOLD 10.9.0.1 for=-1         -> 10.9.0.1 held
        SWEEP                        -> 10.9.0.1 free
        ADOPT ns/c c5 10.9.0.1       -> 10.9.0.1 allocated
    """)
    assert len(times(page, "10.9.0.1")) == 9
    assert times(page, "10.9.0.1") == sorted(times(page, "10.9.0.1"))  # type: ignore[type-var]


def test_the_stream_of_a_pool(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    with ahead(monkeypatch, timedelta(hours=1)):
        page.pool("10.9.0.1-10.9.0.9/24")
    page.pool("10.9.0.1-10.9.0.8/24")
    page.drop()
    page.pool("10.9.0.1-10.9.0.7/24")
    assert len(times(page, None)) == 4
    assert times(page, None) == sorted(times(page, None))  # type: ignore[type-var]


def test_what_cools_cools_for_its_whole_time(patient_page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page = patient_page
    page.pool("10.9.0.1-10.9.0.1/24", cooldownSeconds=1)
    with ahead(monkeypatch, timedelta(hours=1)):
        book = page.book
        page.book = StepByStep(page.database, actor="test")
        page.tell("ADD ns/a c1           -> 10.9.0.1 lowest")
        page.book = book
    page.tell("""
        DEL c1                       -> 10.9.0.1 cooling
        WAIT 1.05
        SWEEP                        -> nothing
        ADD ns/b c2                  -> PoolExhausted IPv4: capacity 1, allocated 0, held 0, cooling 1, asked 0
        ADD ns/a c2                  -> 10.9.0.1 returning
    """)
