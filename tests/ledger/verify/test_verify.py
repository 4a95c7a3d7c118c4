"""``verify`` finds nothing in an honest ledger, and names every damage that an administrator of the database can do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from ledger import fence, pools, walk
from ledger.addresses import to_text
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import LedgerCorrupt
from ledger.events import Attachment, Owner
from ledger.store import Database, Tx
from ledger.store import verify as looks
from ledger.verify import CHECKS, LIMIT, Check, Finding, verify
from tests.ledger.chronicle import Chronicle
from tests.ledger.verify.ward import STORY, Undone, change, found, seq_of, tamper


def test_an_honest_ledger_holds(ward: Database) -> None:
    report = verify(ward)
    assert [finding.what for each in report.checked for finding in each.findings] == []
    assert report.ok and (report.events, report.addresses) == (15, 6)
    assert [each.check for each in report.checked] == list(CHECKS)


def test_an_empty_ledger_holds(db_url: str) -> None:
    database = Database(db_url)
    assert verify(database).ok
    database.close()


COLUMNS = {
    "version": 7,
    "state": "free",
    "since": "2024-11-24T09:00:00.000000Z",
    "owner": "default/somebody-else",
    "namespace": "other",
    "pod": "other",
    "pod_uid": "u9",
    "container_id": "c9",
    "if_name": "eth9",
    "network": "other",
    "node": "n9",
    "until": "2024-11-24T09:00:00.000000Z",
    "family": 6,
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_of_the_live_state_is_named(tx: Tx, column: str) -> None:
    change(tx, f"UPDATE address SET {column} = {{}} WHERE ip = '10.8.0.1'", COLUMNS[column])
    assert found(tx).keys() - {"places"} == {"state"}
    [what] = found(tx)["state"]
    assert what.startswith(f"10.8.0.1 of pool 'p': {column} is ")
    assert f"(event {seq_of('10.8.0.1 Allocated default/web-0 uid=u2')})" in what


def test_a_column_that_lost_its_value_is_named(tx: Tx) -> None:
    change(tx, "UPDATE address SET pod_uid = NULL WHERE ip = '10.8.0.1'")
    assert "pod_uid is nothing, the ledger says 'u2'" in found(tx)["state"][0]


def test_a_row_that_vanished_is_named(tx: Tx) -> None:
    change(tx, "DELETE FROM address WHERE ip = '10.8.0.2'")
    report = found(tx)
    assert report["state"] == [
        f"10.8.0.2 of pool 'p': its newest event is {seq_of('router')}, but it is not in the live state"
    ]
    assert "29 addresses stand in the live state, the spec gives out 30" in report["places"][0]


def test_a_history_that_the_ledger_does_not_know_is_named(tx: Tx) -> None:
    change(tx, "UPDATE address SET version = 1, state = 'allocated', owner = 'ns/x' WHERE ip = '10.8.0.9'")
    [what] = found(tx)["state"]
    assert what.startswith(
        "10.8.0.9 of pool 'p': the live state says version 1, state 'allocated', owner 'ns/x'"
    )


def test_an_address_that_was_never_used_yet_has_an_owner(tx: Tx) -> None:
    change(tx, "UPDATE address SET owner = 'ns/x' WHERE ip = '10.8.0.9'")
    [what] = found(tx)["state"]
    assert "10.8.0.9 of pool 'p': the live state says owner 'ns/x'" in what


def test_a_missing_event_is_a_gap(tx: Tx) -> None:
    tamper(
        tx,
        "DELETE FROM ledger WHERE seq = {}",
        seq_of("10.8.0.1 Allocated default/web-0 uid=u1"),
    )
    assert found(tx) == {
        "versions": ["10.8.0.1 of pool 'p': version 1 is missing; there are 1 events up to version 2"]
    }


def test_a_missing_newest_event_shows_in_the_live_state(tx: Tx) -> None:
    tamper(tx, "DELETE FROM ledger WHERE seq = {}", seq_of("10.8.0.5 Reclaimed"))
    [what] = found(tx)["state"]
    assert what.startswith("10.8.0.5 of pool 'p': version is 2, the ledger says 1")


def test_a_missing_only_event_shows_in_the_live_state(tx: Tx) -> None:
    tamper(tx, "DELETE FROM ledger WHERE seq = {}", seq_of("router"))
    [what] = found(tx)["state"]
    assert what.startswith("10.8.0.2 of pool 'p': the live state says version 1")


@pytest.mark.parametrize(
    ("event", "assignment", "why"),
    [
        ("10.8.0.5 Reclaimed", "kind = 'Freed'", "Freed of an address that was allocated"),
        ("10.8.0.5 Reclaimed", "kind = 'Adopted'", "Adopted of an address that was allocated"),
        ("10.8.0.5 Reclaimed", "kind = 'Sold'", "Sold from allocated to free: not a kind"),
        ("10.8.0.2 Allocated", "kind = 'Released'", "Released of an address that was free"),
        ("10.8.0.4 Released", "until = NULL", "Released left the address cooling without an end"),
        ("10.8.0.5 Reclaimed", "pod = 'w'", "Reclaimed changed the owner"),
        ("10.8.0.5 Reclaimed", "container_id = 'w'", "Reclaimed changed the owner"),
        ("10.8.0.3 Held", "node = 'w'", "Held changed the owner"),
        ("10.8.0.3 Held", "namespace = pod, pod = namespace", "Held changed the owner"),
        ("10.8.0.3 Held", "pod_uid = NULL", "Held changed the owner"),
        ("10.8.0.3 Held", "pod_uid = ''", "Held changed the owner"),
        ("10.8.0.3 Held", "network = 'w'", "Held changed the owner"),
        ("10.8.0.3 Held", "if_name = 'w'", "Held changed the owner"),
        ("10.8.0.4 Released", "state = 'free'", "Released left the address free with an end"),
    ],
)
def test_an_event_that_may_not_follow_is_named(tx: Tx, event: str, assignment: str, why: str) -> None:
    seq = seq_of(event)
    tamper(tx, f"UPDATE ledger SET {assignment} WHERE seq = {{}}", seq)
    said_of = found(tx)["transitions"]
    assert [what for what in said_of if what.startswith(f"event {seq}, version ") and why in what], said_of


def test_a_stream_that_goes_back_in_time_is_named(tx: Tx) -> None:
    seq = seq_of("10.8.0.5 Reclaimed")
    tamper(tx, "UPDATE ledger SET at = {} WHERE seq = {}", "2024-11-24T10:07:59.999999Z", seq)
    [what] = found(tx)["transitions"]
    assert (
        what
        == f"event {seq}, version 2 of 10.8.0.5 in pool 'p': Reclaimed is earlier than the event before it"
    )


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("version = 9", "version is 9, the ledger says 2"),
        ("live = false", "live is False, the ledger says True"),
        ("cooldown_seconds = 7", "cooldown is 7, the ledger says 0"),
        ("address_space = 'other'", "address space is 'other', the ledger says 'default'"),
        (
            'spec = \'{"ipPoolSubs": [{"range": "10.8.0.0/28"}]}\'',
            "spec is {'ipPoolSubs': [{'range': '10.8.0.0/28'}]}",
        ),
    ],
)
def test_a_pool_that_is_not_what_its_event_says_is_named(tx: Tx, assignment: str, said: str) -> None:
    change(tx, f"UPDATE pool SET {assignment} WHERE name = 'p'")
    said_of = found(tx)["pools"]
    assert [what for what in said_of if what.startswith("pool 'p': ") and said in what], said_of


def test_a_pool_without_a_row_is_named(tx: Tx) -> None:
    change(tx, "DELETE FROM pool WHERE name = 'q'")
    said_of = found(tx)["pools"]
    assert any(
        "4 events are of pool #" in what and f"event {seq_of('q PoolCreated')})" in what for what in said_of
    ), said_of


def test_a_pool_whose_events_are_gone_is_named(tx: Tx) -> None:
    for words in ("q PoolCreated", "q PoolDeleted"):
        tamper(tx, "DELETE FROM ledger WHERE seq = {}", seq_of(words))
    assert "pool 'q': the ledger has no event of it" in found(tx)["pools"]


def test_pools_events_that_may_not_follow_are_named(tx: Tx) -> None:
    seq = seq_of("p PoolUpdated")
    tamper(tx, "UPDATE ledger SET kind = 'PoolCreated' WHERE seq = {}", seq)
    assert found(tx)["pools"] == [
        f"event {seq}, version 2 of pool 'p': PoolCreated of a pool that was there already"
    ]


def test_a_missing_event_of_a_pool_is_a_gap(tx: Tx) -> None:
    tamper(tx, "DELETE FROM ledger WHERE seq = {}", seq_of("p PoolCreated"))
    assert "pool 'p': version 1 is missing; there are 1 events up to version 2" in found(tx)["versions"]


def test_an_address_in_use_of_a_deleted_pool_is_named(tx: Tx) -> None:
    """As if the pool had been deleted behind the book's back: its event is forged too."""
    seq = seq_of("p PoolUpdated")
    tamper(tx, "UPDATE ledger SET kind = 'PoolDeleted' WHERE seq = {}", seq)
    change(tx, "UPDATE pool SET live = false WHERE name = 'p'")
    said_of = found(tx)["pools"]
    assert f"10.8.0.1 is allocated, but its pool 'p' was deleted (event {seq})" in said_of


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE address SET rnd = NULL WHERE ip = '10.8.0.9'", "10.8.0.9 of pool 'p' can never be picked"),
        ("UPDATE address SET family = 6 WHERE ip = '10.8.0.9'", "10.8.0.9 of pool 'p' is said to be of IPv6"),
        ("UPDATE address SET sub = 3 WHERE ip = '10.8.0.9'", "10.8.0.9 of pool 'p' stands in sub 3, the spec says 0"),
        ("DELETE FROM address WHERE ip = '10.8.0.9'", "29 addresses stand in the live state, the spec gives out 30"),
        ("UPDATE address SET rnd = 1 WHERE ip = '10.9.0.1'", "10.9.0.1 of pool 'q' may be picked, but its pool was deleted"),
        (
            "INSERT INTO address (pool_id, ip, family, sub, rnd, version, state)"
            " SELECT id, '10.8.0.31', 4, 0, 5, 0, 'free' FROM pool WHERE name = 'p'",
            "10.8.0.31 of pool 'p' may be picked, but the pool's spec never gives it out",
        ),
    ],
)  # fmt: skip
def test_an_address_out_of_its_place_is_named(tx: Tx, statement: str, said: str) -> None:
    change(tx, statement)
    said_of = found(tx)["places"]
    assert [what for what in said_of if said in what], said_of


@pytest.mark.parametrize("rnd", [-1, 2**62])
def test_a_place_that_was_never_drawn_is_named(own: Database, rnd: int) -> None:
    Book(own, actor="test").apply_pool(pools.from_spec("p", {"ipPoolSubs": [{"range": "10.8.0.0/29"}]}))
    with own.begin() as tx:
        change(tx, f"UPDATE address SET rnd = {rnd} WHERE ip = '10.8.0.2'")
        assert found(tx) == {"places": [f"10.8.0.2 of pool 'p' is picked in place {rnd}, which is none"]}


def test_an_address_that_its_pool_never_gave_is_named(tx: Tx) -> None:
    """As if it had been forged with its event, so that both agree."""
    tamper(tx, "UPDATE ledger SET ip = '192.168.1.1' WHERE seq = {}", seq_of("router"))
    change(tx, "UPDATE address SET ip = '192.168.1.1', sub = -1, rnd = NULL WHERE ip = '10.8.0.2'")
    said = "192.168.1.1 of pool 'p' is allocated, but the pool's spec never gives it out"
    assert said in found(tx)["places"]


def test_addresses_of_no_pool_are_named(tx: Tx) -> None:
    change(tx, "UPDATE address SET pool_id = 99 WHERE version = 0")
    assert "25 addresses of pool #99 are in the live state, but the pool has no row" in found(tx)["places"]


def test_positions_that_are_given_again_are_named_postgresql(postgresql_tx: Tx) -> None:
    change(postgresql_tx, "ALTER TABLE ledger ALTER seq RESTART WITH 3")
    change(postgresql_tx, "SELECT nextval(pg_get_serial_sequence('ledger', 'seq'))")
    assert found(postgresql_tx) == {"guard": ["ledger: the next event would be 4, but there is 15 already"]}


def test_an_address_that_is_reserved_by_name_is_never_picked(own: Database) -> None:
    spec = {
        "ipPoolSubs": [{"range": "10.8.0.0/29"}],
        "staticReservations": {"default": {"db-0": "10.8.0.2"}},
    }
    Book(own, actor="test").apply_pool(pools.from_spec("p", spec))
    assert verify(own).ok
    with own.begin() as tx:
        change(tx, "UPDATE address SET rnd = 1 WHERE ip = '10.8.0.2'")
        assert found(tx) == {"places": ["10.8.0.2 of pool 'p' may be picked, but it is statically reserved"]}


@pytest.mark.parametrize("strategy", ["Random", "Lowest"])
def test_the_rows_of_a_large_range_agree_with_its_walk(
    own: Database, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "WHOLE", 8)
    monkeypatch.setattr(walk, "CHUNK", 4)
    book = Book(own, actor="test")
    reserved = {"ns": {"s": "10.8.0.2"}}
    for prefix in (26, 25):  # a change leaves rows where the walk, which begins anew, has not come
        spec = {
            "ipPoolSubs": [{"range": f"10.8.0.0/{prefix}"}],
            "pickStrategy": strategy,
            "staticReservations": reserved,
        }
        book.apply_pool(pools.from_spec("p", spec))
        for number in range(8):
            asked = (f"10.8.0.{prefix + 30}",) if number == 7 else ()
            name = f"{prefix}-{number}"
            book.allocate(Claim(("p",), Owner("ns", name), Attachment(name, "eth0", "net"), asked=asked))
    assert verify(own).ok
    with own.read() as tx:
        walked = looks.walks(tx)[1][0]
    (sub,) = pools.from_spec("p", spec).subs
    at = next(to_text(4, n) for n in walk.steps(pools.from_spec("p", spec), sub, walked - 1, 1))
    following = next(to_text(4, n) for n in walk.steps(pools.from_spec("p", spec), sub, walked, 1))
    assert 4 <= walked < sub.capacity
    for statement, said in (
        (f"DELETE FROM address WHERE ip = '{at}'", f"{walked - 1} addresses stand in the live state, the spec gives out {walked} so far: {at} is missing"),
        (f"UPDATE sub SET walked = {walked + 1}", f"the spec gives out {walked + 1} so far: {following} is missing"),
        ("UPDATE sub SET walked = 3", "pool 'p', sub 0: 3 of its addresses have been given a row, it says; that can be 4 to 126"),
        ("UPDATE sub SET walked = 127", "pool 'p', sub 0: 127 of its addresses have been given a row, it says; that can be 4 to 126"),
        ("DELETE FROM sub", "pool 'p', sub 0: it is in the spec, but not in the live state"),
        ("INSERT INTO sub VALUES (1, 1, 4)", "pool 'p', sub 1: it is in the live state, but not in the spec"),
        ("INSERT INTO sub VALUES (7, 0, 4)", "subs of pool #7 are in the live state, but the pool has no row"),
    ):  # fmt: skip
        with contextlib.suppress(Undone), own.begin() as tx:
            change(tx, statement)
            assert [what for what in found(tx)["places"] if said in what], (said, found(tx))
            raise Undone


def test_the_order_of_a_pool_of_lowest_is_the_addresses(own: Database) -> None:
    Book(own, actor="test").apply_pool(
        pools.from_spec("p", {"ipPoolSubs": [{"range": "10.8.0.0/29"}], "pickStrategy": "Lowest"})
    )
    with own.begin() as tx:
        change(tx, "UPDATE address SET rnd = 0 WHERE ip = '10.8.0.5'")
        assert found(tx) == {"places": ["10.8.0.5 of pool 'p' is picked in place 0, not in 5"]}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE fence SET raised = false WHERE id = 5",
            "turn 5 of the fence lifts it, but it is not raised",
        ),
        (
            "UPDATE fence SET raised = false WHERE id = 1",
            "turn 1 of the fence lifts it, but it is not raised",
        ),
        ("DELETE FROM fence WHERE id = 1", "turn 2 of the fence lifts it, but it is not raised"),
        ("DELETE FROM fence WHERE id = 3", "turn 4 of the fence lifts it, but it is not raised"),
    ],
)
def test_a_turn_of_the_fence_that_was_changed_or_is_gone_is_named(
    own: Database, statement: str, said: str
) -> None:
    for _ in range(2):
        fence.raise_fence(own, reason="restored", actor="test")
        fence.lift(own, reason="compared", actor="test")
    fence.raise_fence(own, reason="restored again", actor="test")
    assert verify(own).ok
    with own.begin() as tx:
        tamper(tx, statement, table="fence")
        what = found(tx)["fence"][0]
        assert what.startswith(said)


def test_a_missing_turn_shows_in_the_numbers_sqlite(sqlite_url: str) -> None:
    with contextlib.closing(Database(sqlite_url)) as database:
        for _ in range(2):
            fence.raise_fence(database, reason="restored", actor="test")
            fence.lift(database, reason="compared", actor="test")
        with database.begin() as tx:
            tamper(tx, "DELETE FROM fence WHERE id IN (2, 3)", table="fence")
            assert found(tx) == {"fence": ["turn 2 of the fence is gone: turn 4 comes next"]}


def test_two_owners_of_one_address_are_named(own: Database) -> None:
    Chronicle(own).write(
        """
        10:00 blue  PoolCreated 10.8.0.0/29 space=blue
        10:00 green PoolCreated 10.8.0.0/29 space=green
        10:01 blue  10.8.0.1 Allocated default/a
        10:02 green 10.8.0.1 Allocated default/b
        10:03 green 10.8.0.2 Allocated default/c
        10:04 blue  10.8.0.2 Allocated default/d
        10:05 green 10.8.0.2 Released
        10:06 blue  10.8.0.2 Released
        10:07 green 10.8.0.2 Allocated default/e
        """
    )
    assert verify(own).ok, "in two address spaces that is as it should be"
    green = '{"ipPoolSubs": [{"range": "10.8.0.0/29"}], "addressSpace": "blue"}'
    with own.begin() as tx:
        tamper(tx, "UPDATE ledger SET spec = {} WHERE seq = 2", green)
        change(tx, "UPDATE pool SET spec = {}, address_space = 'blue' WHERE name = 'green'", green)
        assert found(tx)["owners"] == [
            "10.8.0.1 is allocated twice in address space 'blue': in pool 'blue' and in pool 'green'",
            "10.8.0.2 had two owners in address space 'blue' at once: by event 5 of pool 'green' and by event 6 of pool 'blue'",
        ]


def test_a_pool_that_moved_to_another_address_space_had_no_second_owner(own: Database) -> None:
    """Which space counts is the one of then: q was in the same as p only after p's address was free."""
    Chronicle(own).write(
        """
        10:00 p PoolCreated 10.8.0.0/29 space=one
        10:00 q PoolCreated 10.8.0.0/29 space=two
        10:01 p 10.8.0.1 Allocated default/a
        10:02 q 10.8.0.1 Allocated default/b
        10:03 q 10.8.0.1 Released
        10:04 p 10.8.0.1 Released
        10:05 p PoolDeleted
        10:06 q PoolDeleted
        10:07 q PoolCreated 10.8.0.0/29 space=one
        10:08 q 10.8.0.1 Allocated default/c
        """
    )
    assert verify(own).ok


# How it runs ------------------------------------------------------------------------------------


def test_many_findings_are_cut_and_said_to_be_more(own: Database) -> None:
    Chronicle(own).write(STORY)
    with own.begin() as tx:
        change(tx, "UPDATE address SET rnd = NULL WHERE version = 0")
    [places] = [each for each in verify(own).checked if each.check.name == "places"]
    assert len(places.findings) == LIMIT and places.more
    with own.begin() as tx:
        change(tx, "UPDATE address SET rnd = 5 WHERE ip <> '10.8.0.9'")
    [places] = [each for each in verify(own).checked if each.check.name == "places"]
    assert len(places.findings) == 2 and not places.more


def test_writers_go_on_beside_it_and_are_not_seen(own: Database) -> None:
    """A check that waits for a writer to commit would wait for ever if verify blocked it."""
    Chronicle(own).write(STORY)
    book = Book(own, actor="test")

    def write() -> None:
        book.allocate(Claim(("p",), Owner("default", "late"), Attachment("late", "eth0", "net")))

    def waits(tx: Tx, progress: Callable[[int], object]) -> Iterator[Finding]:
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(20)
        assert not writer.is_alive(), "the writer is blocked"
        return iter(())

    report = verify(own, [Check("waits", "a writer commits meanwhile", waits), *CHECKS])
    assert report.ok and report.events == 15
    assert verify(own).events == 16


def test_what_cannot_be_read_is_a_finding_and_the_other_checks_go_on(own: Database) -> None:
    book = Book(own, actor="test")
    spec = {"ipPoolSubs": [{"range": "10.0.0.0/29"}]}
    book.apply_pool(pools.from_spec("p", spec))
    book.allocate(Claim(("p",), Owner("ns", "web-0", None), Attachment("c", "eth0", "net")))
    with own.begin() as tx:
        first = "(SELECT min(ip) FROM address)"
        change(tx, f"UPDATE address SET ip = {{}} WHERE ip = {first}", "x" if tx.sqlite else "10.0.0.1/8")
        if not tx.sqlite:
            tamper(tx, "UPDATE ledger SET version = 2147483647 WHERE ip IS NOT NULL")
    report = verify(own)
    assert len(report.checked) == len(CHECKS)
    unread = [f.what for each in report.checked for f in each.findings if "cannot be read" in f.what]
    assert len(unread) == (1 if own.sqlite else 2), report


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DROP TABLE sub", "places"),
        ("ALTER TABLE sub RENAME COLUMN walked TO ran", "places"),
        ("DROP TABLE fence", "fence"),
        ("ALTER TABLE address RENAME COLUMN node TO place", "state"),
    ],
)
def test_a_table_of_another_shape_is_a_finding_and_the_other_checks_go_on(
    own: Database, statement: str, check: str
) -> None:
    with own.begin() as tx:
        change(tx, statement)
    failed = {each.check.name: each.findings[0].what for each in verify(own).checked if each.findings}
    assert failed[check].startswith("a table is missing or not as our schema makes it: ")
    assert failed.keys() <= {check, "guard"}


def test_numbers_that_are_none_are_named_sqlite(sqlite_tx: Tx) -> None:
    change(sqlite_tx, "UPDATE address SET rnd = 'x' WHERE ip = '10.8.0.9'")
    assert found(sqlite_tx) == {"places": ["10.8.0.9 of pool 'p' is picked in place 'x', which is none"]}
    change(sqlite_tx, "UPDATE sub SET walked = 'x'")
    with pytest.raises(LedgerCorrupt, match="sub 0 of pool #1 says 'x' of how far it was walked"):
        found(sqlite_tx)


def test_progress_is_told(ward: Database) -> None:
    begun: list[str] = []
    counted: list[int] = []

    def begins(check: Check) -> Callable[[int], object]:
        begun.append(check.name)
        return counted.append

    def counts(tx: Tx, progress: Callable[[int], object]) -> Iterator[Finding]:
        progress(7)
        yield Finding("something")

    report = verify(ward, [Check("one", "", counts), Check("two", "", counts)], begins=begins)
    assert (begun, counted, report.ok) == (["one", "two"], [7, 7], False)
