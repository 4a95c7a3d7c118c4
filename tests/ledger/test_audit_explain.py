"""An address in sentences: what it is, since when and why, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger import audit, pools
from ledger.errors import UnknownAddress
from ledger.events import Attachment, Event, Owner
from ledger.store import Database
from tests.ledger.chronicle import Chronicle, clock, moment


@pytest.fixture
def told(db_url: str) -> Iterator[Chronicle]:
    database = Database(db_url)
    yield Chronicle(database)
    database.close()


def explain(told: Chronicle, ip: str, now: str = "12:00") -> str:
    found = audit.explain(told.database, ip, moment(now), moment=lambda at: f"{at:%H:%M}")
    return "\n".join(f"[{each.pool}] {sentence}" for each in found for sentence in each.sentences)


def test_an_address_in_use(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 c=abc node=node1 reason=returning
        10:01 p 10.8.0.2 Allocated router
        """
    )
    assert explain(told, "10.8.0.1") == (
        "[p] 10.8.0.1 of pool 'p' is allocated to pod default/web-0 on node node1 "
        "(uid u1, container abc, interface eth0, network podnet).\n"
        "[p] So since 10:01 (1 hour ago): allocated (the owner had it last, by chronicler; event 2).\n"
        "[p] It stays so until the DEL of this very attachment, or until the pool is full and there is positive evidence "
        "that the pod has ended. A relaunched pod of the same name takes it over."
    )
    assert "allocated to owner 'router'" in explain(told, "10.8.0.2")
    assert "No sweep takes it: its owner is no pod." in explain(told, "10.8.0.2")


def test_a_cooling_address_says_until_when_and_then_that_it_is_due(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/a
        10:02 p 10.8.0.1 Released until=10:32
        """
    )
    before = explain(told, "10.8.0.1", "10:12")
    assert "is cooling; pod default/a had it last" in before
    assert "Pod default/a had it from 10:01 until 10:02." in before
    assert "It cools until 10:32 (in 20 minutes)" in before
    assert "That ended 10:32 (28 minutes ago): the next sweep frees it" in explain(told, "10.8.0.1", "11:00")


def test_a_held_address_says_for_whom(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/db-0
        10:02 p 10.8.0.1 Held
        10:03 p 10.8.0.2 Allocated default/db-1
        10:04 p 10.8.0.2 Held until=13:00
        """
    )
    assert "is held for pod default/db-0" in explain(told, "10.8.0.1")
    assert "kept for that owner while its owner exists" in explain(told, "10.8.0.1")
    assert "kept for that owner until 13:00" in explain(told, "10.8.0.2")


def test_a_free_address_says_who_had_it(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/29
        10:01 p 10.8.0.1 Allocated default/a
        10:02 p 10.8.0.1 Reclaimed reason=gone
        """
    )
    said = explain(told, "10.8.0.1")
    assert "10.8.0.1 of pool 'p' is free." in said
    assert "reclaimed, for its owner had ended (“gone”" in said
    assert "Pod default/a had it from 10:01 until 10:02." in said
    assert "its last owner, if it comes back first" in said
    assert explain(told, "10.8.0.2") == "[p] 10.8.0.2 of pool 'p' is free; nobody has ever had it."


def test_what_is_never_given_out_says_why(told: Chronicle) -> None:
    spec = {
        "ipPoolSubs": [{"range": "10.8.0.0/29", "gateway": "10.8.0.6", "reservedRanges": ["10.8.0.5"]}],
        "staticReservations": {"default": {"db-0": "10.8.0.2"}},
    }
    with clock(moment("10:00")):
        told.book.apply_pool(pools.from_spec("p", spec))
    assert explain(told, "10.8.0.6") == "[p] 10.8.0.6 of pool 'p' is never given out: the gateway."
    assert "is never given out: reserved range 10.8.0.5" in explain(told, "10.8.0.5")
    assert "is never given out: the network address" in explain(told, "10.8.0.0")
    assert "It is statically reserved for pod default/db-0" in explain(told, "10.8.0.2")


def test_every_pool_tells_its_own_and_deleted_ones_come_last(told: Chronicle) -> None:
    told.write(
        """
        10:00 a PoolCreated 10.8.0.0/29
        10:01 a 10.8.0.1 Allocated default/x
        10:02 a 10.8.0.1 Released
        10:03 a PoolDeleted
        10:04 b PoolCreated 10.8.0.0/29
        10:04 c PoolCreated 10.8.0.0/29 space=other
        10:05 b 10.8.0.1 Allocated default/y
        """
    )
    found = audit.explain(told.database, "10.8.0.1", moment("12:00"))
    assert [each.pool for each in found] == ["b", "c", "a"]
    assert found[2].sentences[0].startswith("Pool 'a' was deleted")
    assert found[1].event is None and found[1].to_json()["event"] is None


def test_an_address_that_left_its_pool_is_still_explained(told: Chronicle) -> None:
    told.write(
        """
        10:00 p PoolCreated 10.8.0.0/28
        10:01 p 10.8.0.9 Allocated default/a
        10:02 p 10.8.0.9 Released
        10:03 p PoolUpdated 10.8.0.0/29
        """
    )
    said = explain(told, "10.8.0.9")
    assert "It is no longer in the pool's ranges." in said
    assert "Anybody may get it" not in said
    assert explain(told, "10.8.0.10") == "[p] 10.8.0.10 of pool 'p' is no longer in the pool's ranges."


def test_an_address_of_no_pool_is_unknown(told: Chronicle) -> None:
    told.write("10:00 p PoolCreated 10.8.0.0/29")
    with pytest.raises(UnknownAddress):
        explain(told, "10.9.9.9")


@pytest.mark.parametrize(
    ("owner", "attachment", "said"),
    [
        (Owner("ns", "web-0"), Attachment("c1", "eth0"), "pod ns/web-0"),
        (Owner(None, "router"), Attachment("router"), "owner 'router'"),
        (Owner(None, "busybox"), Attachment("0123abc", "eth0"), "container busybox"),
        (Owner(), Attachment("0123abc", "eth0"), "container 0123abc"),
        (Owner(), Attachment(""), "nobody"),
    ],
)
def test_an_owner_has_a_name_for_sentences(owner: Owner, attachment: Attachment, said: str) -> None:
    from tests.ledger.test_replay import Kind, State, event

    plain: Event = event(1, Kind.ALLOCATED, State.ALLOCATED, 0, owner=owner, attachment=attachment)
    assert audit.who_is(plain) == said
