"""Who had an address, at any moment: to the microsecond, through relaunches, pools and address spaces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ledger import audit
from ledger.errors import AddressOutsidePool, InvalidInput, UnknownAddress, UnknownPool
from ledger.events import rfc3339
from ledger.store import Database
from tests.ledger.chronicle import Chronicle, moment

TICK = timedelta(microseconds=1)


@pytest.fixture
def told(db_url: str) -> Iterator[Chronicle]:
    database = Database(db_url)
    yield Chronicle(database)
    database.close()


def who(told: Chronicle, ip: str, at: str | None, pool: str | None = None) -> list[str]:
    """``owner (pool) from-until`` of each holding."""
    out = []
    for holding in audit.who_had(told.database, ip, moment(at) if at else None, pool=pool):
        owner = holding.event.owner
        name = f"{owner.namespace}/{owner.pod}" if owner.is_pod else str(owner.pod)
        uid = f" {owner.uid}" if owner.uid else ""
        until = f"{holding.until:%H:%M:%S.%f}".rstrip("0").rstrip(".") if holding.until else ""
        out.append(f"{name}{uid} ({holding.event.pool}) {holding.since:%H:%M:%S}-{until}")
    return out


def test_a_holding_begins_with_its_event_and_ends_just_before_the_next(told: Chronicle) -> None:
    told.write(
        """
        10:00           p PoolCreated 10.8.0.0/29
        10:01           p 10.8.0.1 Allocated default/web-0 uid=u1
        10:05:00.000001 p 10.8.0.1 Released
        """
    )
    assert who(told, "10.8.0.1", "10:00:59.999999") == []
    assert who(told, "10.8.0.1", "10:01") == ["default/web-0 u1 (p) 10:01:00-10:05:00.000001"]
    assert who(told, "10.8.0.1", "10:05") == ["default/web-0 u1 (p) 10:01:00-10:05:00.000001"]
    assert who(told, "10.8.0.1", "10:05:00.000001") == []
    assert who(told, "10.8.0.1", None) == []


def test_while_it_lasts_a_holding_has_no_end(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated router
        """
    )
    assert who(told, "10.8.0.1", None) == who(told, "10.8.0.1", "23:00") == ["router (p) 10:01:00-"]
    [holding] = audit.who_had(told.database, "10.8.0.1")
    assert holding.to_json()["until"] is None
    assert holding.to_json()["from"] == rfc3339(moment("10:01"))


def test_a_relaunched_pod_begins_a_new_holding(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 c=old
        10:05 p 10.8.0.1 Allocated default/web-0 uid=u2 c=new
        """
    )
    assert who(told, "10.8.0.1", "10:04:59.999999") == ["default/web-0 u1 (p) 10:01:00-10:05:00"]
    assert who(told, "10.8.0.1", "10:05") == ["default/web-0 u2 (p) 10:05:00-"]


def test_a_holding_without_length_never_was(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/a
        10:01 p 10.8.0.1 Released
        10:01 p 10.8.0.1 Allocated default/b
        """
    )
    assert who(told, "10.8.0.1", "10:00:59.999999") == []
    assert who(told, "10.8.0.1", "10:01") == ["default/b (p) 10:01:00-"]


def test_a_held_or_cooling_address_is_nobodys(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/db-0
        10:02 p 10.8.0.1 Held
        10:03 p 10.8.0.1 Allocated default/db-0
        10:04 p 10.8.0.1 Released until=10:09
        10:09 p 10.8.0.1 Freed
        """
    )
    assert (
        who(told, "10.8.0.1", "10:02")
        == who(told, "10.8.0.1", "10:05")
        == who(told, "10.8.0.1", "10:09")
        == []
    )
    assert who(told, "10.8.0.1", "10:03:30") == ["default/db-0 (p) 10:03:00-10:04:00"]
    [state] = audit.states(told.database, "10.8.0.1", moment("10:02"))
    assert (state.state, state.owner.pod) == ("held", "db-0")


def test_an_address_of_two_address_spaces_has_two_answers(told: Chronicle) -> None:
    told.write(
        """
        10:00 blue  PoolCreated 10.8.0.0/29 space=blue
        10:00 green PoolCreated 10.8.0.0/29 space=green
        10:01 green 10.8.0.1 Allocated default/g
        10:02 blue  10.8.0.1 Allocated default/b
        """
    )
    assert who(told, "10.8.0.1", "10:01") == ["default/g (green) 10:01:00-"]
    assert who(told, "10.8.0.1", "10:02") == ["default/b (blue) 10:02:00-", "default/g (green) 10:01:00-"]
    assert who(told, "10.8.0.1", "10:02", pool="blue") == ["default/b (blue) 10:02:00-"]


def test_an_address_that_moved_to_another_pool_is_found_in_the_right_one(told: Chronicle) -> None:
    told.write(
        """
        10:00 old PoolCreated 10.8.0.0/29
        10:01 old 10.8.0.1 Allocated default/a
        10:02 old 10.8.0.1 Released
        10:03 old PoolDeleted
        10:04 new PoolCreated 10.8.0.0/28
        10:05 new 10.8.0.1 Allocated default/b
        """
    )
    assert who(told, "10.8.0.1", "10:01:30") == ["default/a (old) 10:01:00-10:02:00"]
    assert who(told, "10.8.0.1", "10:03:30") == []
    assert who(told, "10.8.0.1", "10:05") == ["default/b (new) 10:05:00-"]


def test_a_pool_that_was_deleted_and_made_again_goes_on(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/a
        10:02 p 10.8.0.1 Released
        10:03 p PoolDeleted
        10:04 p PoolCreated 10.8.0.0/29
        10:05 p 10.8.0.1 Allocated default/b
        """
    )
    assert who(told, "10.8.0.1", "10:01") == ["default/a (p) 10:01:00-10:02:00"]
    assert who(told, "10.8.0.1", "10:05") == ["default/b (p) 10:05:00-"]


def test_ipv6_is_found_however_it_is_spelled(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated fd00::/120
        10:01 p fd00::a Allocated default/a
        """
    )
    assert who(told, "FD00:0:0::000A", "10:01") == ["default/a (p) 10:01:00-"]


def test_a_pool_that_never_had_the_address_is_no_place_to_ask(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:00 q PoolCreated 10.9.0.0/29
        10:01 p 10.8.0.1 Allocated default/a
        10:02 q PoolUpdated 10.9.1.0/29
        """
    )
    assert who(told, "10.9.0.2", None, pool="q") == who(told, "10.9.0.2", None) == [], "it had that once"
    assert who(told, "10.8.0.1", "09:59", pool="p") == [], "it has, later"
    for ip in ("10.8.0.1", "10.7.0.1"):
        with pytest.raises(
            AddressOutsidePool, match=f"{ip} is outside pool 'q', which has 10.9.1.0-10.9.1.7"
        ):
            who(told, ip, None, pool="q")
    with pytest.raises(AddressOutsidePool):
        list(audit.events(told.database, audit.Wanted(ip="10.8.0.1", pool="q")))


def test_an_address_that_nobody_had_is_known_and_one_of_no_pool_is_not(told: Chronicle) -> None:
    told.write("10:00 p PoolCreated 10.8.0.0/29")
    assert who(told, "10.8.0.2", None) == []
    assert who(told, "10.8.0.0", None) == [], "the network address: never given out, but not unknown"
    with pytest.raises(UnknownAddress, match=r"10\.9\.9\.9 belongs to no pool"):
        who(told, "10.9.9.9", None)
    with pytest.raises(UnknownPool, match="'q'"):
        who(told, "10.8.0.1", None, pool="q")
    with pytest.raises(InvalidInput, match=r"10\.8\.0"):
        who(told, "10.8.0", None)
