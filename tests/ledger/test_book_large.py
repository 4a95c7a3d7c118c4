"""Ranges too large for a row each: rows come by chunks, in every order exactly once, and nothing iterates over a range."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from ledger import fence, pools, walk
from ledger.addresses import to_int
from ledger.archive.transfer import replay_into
from ledger.claims import Claim
from ledger.errors import PoolExhausted
from ledger.events import Attachment, Owner
from ledger.store import Database
from tests.ledger.pages import Page


def rows_of(page: Page, pool: str = "p") -> int:
    with page.database.read() as tx:
        query = f"SELECT count(*) FROM address a JOIN pool p ON p.id = a.pool_id WHERE p.name = '{page.mark}{pool}'"
        return int(tx.connection.exec_driver_sql(query).scalar_one())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a size that a test can exhaust; the real sizes stand in one test below."""
    monkeypatch.setattr(walk, "WHOLE", 16)
    monkeypatch.setattr(walk, "CHUNK", 5)


@pytest.mark.parametrize("range_", ["fd00:9::/64", "10.0.0.0/8", "fd00::/8"])
def test_a_huge_range_is_applied_at_once_and_gives_addresses(page: Page, range_: str) -> None:
    before = time.monotonic()
    page.pool(range_, pickStrategy="Random")
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"c{n}"))[0].ip for n in range(20)]
    assert time.monotonic() - before < 60  # seconds; a row for each would take hours
    assert len(set(got)) == 20
    assert rows_of(page) == walk.CHUNK
    spread = {to_int(ip)[1] >> (8 if range_.startswith("10") else 48) for ip in got}
    assert len(spread) > 1 or range_ == "fd00:9::/64", "all from one corner"
    capacity = page.figures()[0]
    assert capacity == {"fd00:9::/64": 2**64 - 1, "10.0.0.0/8": 2**24 - 2, "fd00::/8": 2**120 - 1}[range_]


@pytest.mark.parametrize("strategy", ["Random", "Lowest"])
def test_every_address_is_given_exactly_once_to_the_last(tiny: None, page: Page, strategy: str) -> None:
    page.pool("10.9.0.1-10.9.0.23/24", pickStrategy=strategy, staticReservations={"ns": {"s": "10.9.0.7"}})
    assert rows_of(page) == 5
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"c{n}"))[0].ip for n in range(22)]
    everything = [f"10.9.0.{n}" for n in range(1, 24) if n != 7]
    if strategy == "Lowest":
        assert got == everything
    assert sorted(got, key=to_int) == everything
    page.tell(
        "ADD ns/late c              -> PoolExhausted IPv4: capacity 23, allocated 22, held 0, cooling 0, asked 22"
    )
    page.tell("ADD ns/s c-s               -> 10.9.0.7 static")


def test_a_batch_takes_as_many_chunks_as_it_needs(tiny: None, page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.23/24")
    outcomes = page.book.allocate_many([page.claim(f"ns/p{n}", f"c{n}") for n in range(25)])
    given = [each[0].ip for each in outcomes if not isinstance(each, Exception)]
    assert len(set(given)) == 23
    assert [type(each).__name__ for each in outcomes if isinstance(each, Exception)] == ["PoolExhausted"] * 2


def test_one_asked_for_has_a_row_before_its_chunk_comes(tiny: None, page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.23/24", pickStrategy="Random")
    with page.database.read() as tx:
        have = {
            str(ip)
            for (ip,) in tx.connection.exec_driver_sql(
                f"SELECT ip FROM address a JOIN pool p ON p.id = a.pool_id WHERE p.name = '{page.mark}p'"
            )
        }
    far = next(ip for n in range(1, 24) if (ip := f"10.9.0.{n}") not in have)
    page.tell(f"""
        ADD ns/a c1 ip={far}         -> {far} requested
        DEL c1                       -> {far} free
    """)
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"x{n}"))[0].ip for n in range(23)]
    assert len(set(got)) == 23 and far in got


def test_an_update_goes_on_where_the_walk_stands(tiny: None, page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.40/24", pickStrategy="Random")
    for number in range(18):
        page.book.allocate(page.claim(f"ns/p{number}", f"c{number}"))
    rows = rows_of(page)
    page.pool("10.9.0.1-10.9.0.40/24", pickStrategy="Random", cooldownSeconds=5)
    assert rows_of(page) == rows
    for number in range(18, 40):
        page.book.allocate(page.claim(f"ns/p{number}", f"c{number}"))
    with pytest.raises(PoolExhausted):
        page.book.allocate(page.claim("ns/late", "late"))
    assert rows_of(page) == 40


@pytest.mark.parametrize("later", ["10.9.0.1-10.9.0.50/24", "10.9.0.5-10.9.0.44/24", "10.9.0.1-10.9.0.10/24"])
def test_a_range_that_changes_is_walked_anew_and_misses_none(tiny: None, page: Page, later: str) -> None:
    page.pool("10.9.0.1-10.9.0.40/24")
    for number in range(4, 11):
        page.tell(f"ADD ns/p{number} c{number} ip=10.9.0.{number} -> 10.9.0.{number} requested")
    page.book.release_many([page.attachment(f"c{number}") for number in range(4, 11)])
    page.pool(later)
    size = page.figures()[0]
    got = [page.book.allocate(page.claim(f"ns/q{n}", f"d{n}"))[0].ip for n in range(size)]
    assert len(set(got)) == size
    with pytest.raises(PoolExhausted):
        page.book.allocate(page.claim("ns/late", "late"))


def test_a_sub_slightly_above_what_is_made_whole_is_exhausted_exactly(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8,197 addresses in real chunks, and 3 of another sub: each is given once, and then the figures."""
    monkeypatch.setattr(walk, "WHOLE", 8_192)
    database = Database(postgres_url)
    page = Page(database)
    page.pool("10.9.0.0-10.9.32.4/8", "10.10.1.0-10.10.1.2/8", pickStrategy="Random")
    size = walk.WHOLE + 5 + 3
    assert page.figures()[0] == size
    before = rows_of(page)
    given: set[str] = set()
    for first in range(0, size, 1_024):
        claims = [
            Claim((page.mark + "p",), Owner("ns", f"p{n}", None), Attachment(f"{n}", "e", "n"))
            for n in range(first, min(first + 1_024, size))
        ]
        for outcome in page.book.allocate_many(claims):
            assert not isinstance(outcome, Exception), outcome
            given.add(outcome[0].ip)
    assert len(given) == size == rows_of(page) > before
    (outcome,) = page.book.allocate_many([page.claim("ns/late", "late")])
    assert isinstance(outcome, PoolExhausted)
    assert (outcome.capacity, outcome.allocated) == (size, size)
    database.close()


@pytest.mark.parametrize(
    ("range_", "prefix"),
    [
        ("10.9.0.1-10.9.0.1", 32),
        ("10.9.0.1-10.9.0.2", 24),
        ("10.9.0.0-10.9.255.255", 8),
        ("fd00::1-fd00::1:ffff", 64),
    ],
)
def test_a_walk_takes_every_step_once_and_can_be_entered_anywhere(range_: str, prefix: int) -> None:
    raw = {"ipPoolSubs": [{"range": range_, "netmaskBits": prefix}]}
    for strategy in ("Random", "Lowest"):
        spec = pools.from_spec("p", {**raw, "pickStrategy": strategy})
        (sub,) = spec.subs
        whole = list(walk.steps(spec, sub, 0, sub.capacity + 10))
        assert len(set(whole)) == sub.capacity
        assert (whole == sorted(whole)) or strategy == "Random"
        parts = [step for at in range(0, sub.capacity, 1_000) for step in walk.steps(spec, sub, at, 1_000)]
        assert parts == whole


@pytest.mark.parametrize(
    ("range_", "far", "farther", "low"),
    [
        ("10.9.0.1-10.9.0.23/24", "10.9.0.8", "10.9.0.20", "10.9.0.{}"),
        ("10.0.0.0/8", "10.0.0.8", "10.200.0.1", "10.0.0.{}"),
        ("fd00:9::/64", "fd00:9::8", "fd00:9::ffff:0:0:1", "fd00:9::{}"),
    ],
)
def test_lowest_is_lowest_also_of_those_that_have_no_rows_yet(
    tiny: None, page: Page, range_: str, far: str, farther: str, low: str
) -> None:
    """Each of these histories leaves a row behind where the walk has not come yet."""
    page.pool(range_)
    page.tell(f"""
        ADD ns/far c1 ip={far}               -> {far} requested
        DEL c1                               -> {far} free
        ADOPT ns/farther c2 {farther}        -> {farther} allocated
        DEL c2                               -> {farther} free
        ADD ns/a a                           -> {low.format(1)} lowest
    """)
    page.pool(range_, cooldownSeconds=1)  # puts every row in order again
    page.pool(range_)
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"p{n}"))[0].ip for n in range(2, 4)]
    got += [o[0].ip for o in page.book.allocate_many([page.claim(f"ns/p{n}", f"p{n}") for n in range(4, 10)])]  # type: ignore[index]
    assert got == [low.format(n) for n in range(2, 10)]
    page.tell(f"""
        ADD ns/farther c2                    -> {farther} returning
        ADD ns/far c1 ip={far}               -> AddressTaken {far} allocated ns/p8
        DEL p2                               -> {low.format(2)} free
        ADD ns/b b                           -> {low.format(2)} lowest
    """)


def test_a_pool_of_lowest_gives_those_that_were_asked_for_in_their_turn(tiny: None, page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.23/24", pickStrategy="Random")
    for number in (8, 17, 23):
        page.tell(f"ADD ns/far c1 ip=10.9.0.{number} -> 10.9.0.{number} requested")
        page.tell(f"DEL c1 -> 10.9.0.{number} free")
    page.pool("10.9.0.1-10.9.0.23/24")
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"p{n}"))[0].ip for n in range(23)]
    assert got == [f"10.9.0.{n}" for n in range(1, 24)]
    with pytest.raises(PoolExhausted):
        page.book.allocate(page.claim("ns/late", "late"))


def test_lowest_is_lowest_in_a_rebuilt_ledger(tiny: None, sqlite_url: str, tmp_path: Path) -> None:
    with closing(Database(sqlite_url)) as source, closing(Database(f"sqlite:///{tmp_path}/copy.db")) as copy:
        page = Page(source)
        page.pool("fd00:9::/64")
        page.tell("""
            ADD ns/far c1 ip=fd00:9::ff      -> fd00:9::ff requested
            DEL c1                           -> fd00:9::ff free
        """)
        copy.require_head()
        replay_into(source, copy, actor="test")
        fence.lift(copy, reason="a test", actor="test")
        again = Page(copy)
        again.mark = page.mark
        got = [again.book.allocate(again.claim(f"ns/p{n}", f"p{n}"))[0].ip for n in range(7)]
        assert got == [f"fd00:9::{n}" for n in range(1, 8)]
