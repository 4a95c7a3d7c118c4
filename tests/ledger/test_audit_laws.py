"""Laws: whatever happened, ``who-had``, ``pool-at`` and ``diff`` say what a replay of the ledger says; and it verifies."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import audit
from ledger.audit import Wanted
from ledger.errors import PoolNotThen
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.replay import GIVES, LEGAL, holder
from ledger.store import Database, history
from ledger.verify import verify
from tests.ledger.chronicle import DAY, Chronicle
from tests.ledger.oracle import as_of, breaches, holdings

TICK = timedelta(microseconds=1)
STEPS = [timedelta(), timedelta(), TICK, 2 * TICK, timedelta(seconds=1), timedelta(hours=5)]
OWNERS = [("ns", "a", "u1"), ("ns", "a", "u2"), ("ns", "b", "u3"), (None, "router", None)]

_numbers = itertools.count(1)

step = st.tuples(
    st.integers(0, 1),  # which pool
    st.integers(1, 2),  # which address of it
    st.sampled_from([kind for kind in Kind if not kind.of_pool]),
    st.sampled_from(OWNERS),
    st.sampled_from(["c1", "c2"]),
    st.sampled_from(STEPS),
    st.booleans(),  # whether a Released cools, a Held has an end
)


def tell(
    told: Chronicle,
    steps: list[tuple[int, int, Kind, tuple[str | None, str, str | None], str, timedelta, bool]],
) -> tuple[list[str], list[str]]:
    """Two pools with the same addresses, in two address spaces; every step that may follow is taken. Gives pools and addresses."""
    number = next(_numbers)
    pools = [f"blue-{number}", f"green-{number}"]
    base = f"10.{100 + number // 250}.{number % 250}."
    at = DAY
    for name in pools:
        told.pool(at, name, base + "0/29", addressSpace=name)
    events: list[Event] = []
    newest: dict[tuple[str, str], Event] = {}
    for which, last, kind, (namespace, pod, uid), container, later, ends in steps:
        at += later
        pool, ip = pools[which], f"{base}{last}"
        before = newest.get((pool, ip))
        was = before.state if before else State.FREE
        if was not in LEGAL[kind][0] or (before is None and kind not in GIVES):
            continue
        owner, attachment, node = (
            Owner(namespace, pod, uid),
            Attachment(f"{pod}-{container}", "eth0", pool),
            "n1",
        )
        if kind not in GIVES:
            assert before is not None
            owner, attachment, node = before.owner, before.attachment, before.node or ""
        elif any(
            each.state is State.ALLOCATED and (each.owner.pod == pod or each.attachment == attachment)
            for (other, there), each in newest.items()
            if other == pool and there != ip
        ):
            continue  # it holds another address of this pool: no two, by the unique indexes
        after = (
            max(LEGAL[kind][1] - {State.COOLING})
            if not ends or kind not in (Kind.RELEASED, Kind.RECLAIMED)
            else State.COOLING
        )
        until = (
            at + timedelta(minutes=1) if after is State.COOLING or (ends and after is State.HELD) else None
        )
        event = Event(0, at, kind, pool, ip, 0, after, owner, attachment, node, until, "law", "law")
        newest[pool, ip] = event
        events.append(event)
    if events:
        told.append(*events)
    return pools, [f"{base}{last}" for last in (1, 2)]


def moments(told: Chronicle, pools: list[str]) -> list[datetime]:
    """Every instant at which something happened, and the microseconds beside it."""
    instants = {event.at for event in told.events if event.pool in pools}
    return sorted({at + beside for at in instants for beside in (-TICK, timedelta(), TICK)})


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_the_answers_are_those_of_a_replay(
    engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after all the histories ``verify`` has nothing to say: no false alarm."""
    database = _database(request, engine)

    @settings(max_examples=15, deadline=None)
    @given(
        steps=st.lists(step, min_size=3, max_size=14), recent=st.sampled_from([0, 1, 5, 20, history.RECENT])
    )
    def law(steps: list[Any], recent: int) -> None:
        monkeypatch.setattr(history, "RECENT", recent)
        _compare(database, steps)

    law()
    report = verify(database)
    assert [finding.what for each in report.checked for finding in each.findings] == []
    assert report.events > 20


def _compare(database: Database, steps: list[Any]) -> None:
    told = Chronicle(database)
    pools, ips = tell(told, steps)
    assert [why for _, why in breaches(told.events)] == []
    everything = [e for name in pools for e in audit.events(database, Wanted(pool=name))]
    assert sorted(everything, key=lambda e: e.seq) == sorted(told.events, key=lambda e: e.seq)
    times = moments(told, pools)
    for ip in ips:
        spans = [h for name in pools for h in holdings(told.streams.get((name, ip), []))]
        for at in times:
            expected = [h for h in spans if h.since <= at and (h.until is None or at < h.until)]
            assert audit.who_had(database, ip, at) == expected, (ip, at)
        assert audit.who_had(database, ip) == [h for h in spans if h.until is None]
    for name in pools:
        states = {at: _pool_by_replay(told, name, ips, at) for at in times}
        for at in times:
            if at < DAY:
                with pytest.raises(PoolNotThen):
                    audit.pool_at(database, name, at)
                continue
            then = audit.pool_at(database, name, at, free=True)
            assert {e.ip: e for e in then.addresses} == states[at]
            used = audit.pool_at(database, name, at)
            assert list(used.addresses) == [e for e in then.addresses if e.state is not State.FREE]
        for since, until in [
            (times[1], times[-1]),
            (times[len(times) // 2], times[-1]),
            (times[1], times[len(times) // 2]),
        ]:
            changes = {
                c.after.ip: (c.before, c.after) for c in audit.diff(database, name, since, until).changes
            }
            assert changes == _differences(states[since], states[until])


def _pool_by_replay(told: Chronicle, name: str, ips: list[str], at: datetime) -> dict[str | None, Event]:
    found = {ip: as_of(told.streams.get((name, ip), []), at) for ip in ips}
    return {ip: event for ip, event in found.items() if event is not None}


def _differences(
    one: dict[str | None, Event], two: dict[str | None, Event]
) -> dict[str | None, tuple[Event | None, Event]]:
    out: dict[str | None, tuple[Event | None, Event]] = {}
    for ip, after in two.items():
        before = one.get(ip)
        was = before.state if before else State.FREE
        if was is State.FREE and after.state is State.FREE:
            continue
        if before is None or (before.state, holder(before), before.until) != (
            after.state,
            holder(after),
            after.until,
        ):
            out[ip] = before, after
    return out


def _database(request: pytest.FixtureRequest, engine: str) -> Database:
    found: Database = request.getfixturevalue(f"{engine}_law")
    return found


@pytest.fixture(scope="module")
def sqlite_law(migrated_sqlite, tmp_path_factory):  # type: ignore[no-untyped-def]
    import shutil

    file = tmp_path_factory.mktemp("laws") / "ledger.db"
    shutil.copyfile(migrated_sqlite, file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@pytest.fixture(scope="module")
def postgresql_law(postgres, migrated_template):  # type: ignore[no-untyped-def]
    database = Database(postgres.create_database("laws", template=migrated_template))
    yield database
    database.close()
    postgres.drop_database("laws")
