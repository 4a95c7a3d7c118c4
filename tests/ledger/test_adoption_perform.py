"""Adopting, on both databases: stopped anywhere it goes on, twice it is nothing, and the book's laws have the last word."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.adoption import perform as performing
from ledger.adoption.compare import HELD, compare
from ledger.adoption.perform import perform
from ledger.adoption.verdict import Line
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import OwnerHasAnother
from ledger.events import Attachment, Kind, Owner, State
from ledger.follow import holders
from ledger.store import Database
from tests.ledger.adopting import found, pool, verdicts


@pytest.fixture
def book(db_url: str) -> Iterator[Book]:
    database = Database(db_url)
    book = Book(database, actor="test")
    book.apply_pool(pool())
    yield book
    database.close()


def planned(book: Book, text: str) -> list[Line]:
    return compare(found(text), [each.spec for each in book.pools()], holders(book.database, *HELD))


def adopted(book: Book, text: str, done: Callable[[int], None] = lambda _: None) -> list[str]:
    return verdicts(list(perform(book, planned(book, text), done)))


def now(book: Book) -> list[str]:
    events = holders(book.database, State.ALLOCATED)
    return sorted(f"{event.ip} {event.attachment.container_id} v{event.version}" for event in events)


def test_adopting_is_an_event_that_says_where_it_comes_from(book: Book) -> None:
    [line] = planned(book, "10.9.0.4 ns/a c1 in=x")
    [event] = book.adopt_many([(line.claim(), line.found.ip)])
    assert not isinstance(event, Exception)
    assert event is not None
    assert (event.kind, event.ip, event.state, event.reason, event.actor) == (
        Kind.ADOPTED,
        "10.9.0.4",
        State.ALLOCATED,
        "adopted from test x",
        "test",
    )


def test_twice_is_nothing(book: Book) -> None:
    text = "10.9.0.1 ns/a\n10.9.0.2 c2"
    assert adopted(book, text) == ["10.9.0.1 ns/a: adopted", "10.9.0.2 container c2: adopted"]
    before = now(book)
    assert adopted(book, text) == ["10.9.0.1 ns/a: already so", "10.9.0.2 container c2: already so"]
    assert now(book) == before


def test_the_next_add_of_a_pod_takes_its_address_over(book: Book) -> None:
    adopted(book, "10.9.0.7 ns/a adopted:ns/a")
    new = Attachment("new", "eth0", "podnet")
    [allocation] = book.allocate(Claim(("p",), Owner("ns", "a", "uid-1"), new))
    assert allocation.ip == "10.9.0.7"
    assert allocation.event is not None
    assert allocation.event.reason == "reassigned"


def test_the_del_of_a_sandbox_that_the_source_did_not_know_frees_nothing(book: Book) -> None:
    adopted(book, "10.9.0.7 ns/a adopted:ns/a")
    assert book.release(Attachment("c0ffee", "eth0", "podnet")) == []
    assert now(book) == ["10.9.0.7 adopted:ns/a v1"]


def test_a_container_keeps_its_address_and_gives_it_back(book: Book) -> None:
    adopted(book, "10.9.0.7 c1")
    mine = Attachment("c1", "eth0")
    [allocation] = book.allocate(Claim(("p",), Owner(), mine))
    assert (allocation.ip, allocation.event) == ("10.9.0.7", None)
    assert [event.ip for event in book.release(mine)] == ["10.9.0.7"]


def test_nobody_else_gets_an_adopted_address(book: Book) -> None:
    adopted(book, "\n".join(f"10.9.0.{n} ns/old-{n}" for n in range(1, 20)))
    [allocation] = book.allocate(Claim(("p",), Owner("ns", "new"), Attachment("new", "eth0", "podnet")))
    assert allocation.ip == "10.9.0.20"


def test_stopped_between_two_batches_it_goes_on(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performing, "BATCH", 2)
    text = "\n".join(f"10.9.0.{n} ns/p{n}" for n in range(1, 8))

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopted(book, text, interrupt)
    assert len(now(book)) == 2
    assert sum(line.endswith("already so") for line in adopted(book, text)) == 2
    assert len(now(book)) == 7


def test_stopped_inside_a_batch_nothing_of_it_is_done(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "10.9.0.1 ns/a\n10.9.0.2 ns/b"
    real, calls = book._adopt, []

    def third(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(book, "_adopt", third)
    with pytest.raises(KeyboardInterrupt):
        adopted(book, text)
    assert now(book) == []


def test_what_changed_since_the_comparison_is_refused_one_by_one(book: Book) -> None:
    lines = planned(book, "10.9.0.1 ns/a\n10.9.0.2 ns/b\n10.9.0.3 ns/c\n10.9.0.4 ns/d")
    claims = {"x": "10.9.0.1", "b": "10.9.0.9", "c": "10.9.0.3"}
    for pod, ip in claims.items():
        book.allocate(Claim(("p",), Owner("ns", pod), Attachment(f"new-{pod}", "eth0", "n"), asked=(ip,)))
    assert verdicts(list(perform(book, lines, lambda _: None))) == [
        "10.9.0.1 ns/a: taken (10.9.0.1 of pool 'p' is allocated to ns/x)",
        "10.9.0.2 ns/b: two addresses (ns/b has 10.9.0.9 of pool 'p' on this interface, and so not 10.9.0.2)",
        "10.9.0.3 ns/c: already so",
        "10.9.0.4 ns/d: adopted",
    ]


def test_a_pool_that_shrank_or_went_away_since(book: Book) -> None:
    lines = planned(book, "10.9.0.1 ns/a\n10.9.0.20 ns/b")
    book.apply_pool(pool(span="10.9.0.1-10.9.0.10/24"))
    assert verdicts(list(perform(book, lines, lambda _: None))) == [
        "10.9.0.1 ns/a: adopted",
        "10.9.0.20 ns/b: outside (10.9.0.20 is outside pool 'p', which has 10.9.0.1-10.9.0.10)",
    ]
    [row] = book.release(Attachment("ns-a", "eth0"))
    assert row.state is State.FREE
    book.delete_pool("p")
    [gone, _] = verdicts(list(perform(book, lines, lambda _: None)))
    assert gone.startswith("10.9.0.1 ns/a: no pool (there is no pool 'p'")


def test_the_book_itself_refuses_an_owner_a_second_address(book: Book) -> None:
    [first] = planned(book, "10.9.0.1 ns/a")
    [second] = planned(book, "10.9.0.2 ns/a c2")
    outcomes = book.adopt_many([(first.claim(), "10.9.0.1"), (second.claim(), "10.9.0.2")])
    assert isinstance(outcomes[1], OwnerHasAnother)
    assert now(book) == ["10.9.0.1 ns-a v1"]
