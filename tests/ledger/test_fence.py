"""While the fence is raised nothing is given out, on any road; everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger import fence, pools
from ledger.book import Book
from ledger.claims import Claim, Node
from ledger.errors import Fenced
from ledger.events import Attachment, Owner
from ledger.store import Database, fences

POOL = {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "p"},
        "spec": {"ipPoolSubs": [{"range": "10.0.0.0/28"}]}}  # fmt: skip


@pytest.fixture
def book(db_url: str) -> Iterator[Book]:
    database = Database(db_url)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_object(POOL))
    yield book
    database.close()


def claim(n: int, *asked: str) -> Claim:
    return Claim(
        ("p",), Owner("ns", f"web-{n}", f"uid{n}"), Attachment(f"c{n}", "eth0", "net"), Node("node1"), asked
    )


@pytest.mark.parametrize(
    "wanted", [(1,), (1, "10.0.0.9"), (0,)], ids=["a free one", "one that is asked for", "its own"]
)
def test_nothing_is_given_out_behind_the_fence(book: Book, wanted: tuple[int, str]) -> None:
    book.allocate(claim(0, "10.0.0.2"))
    assert fence.raise_fence(book.database, reason="imported from a backup", actor="test")
    with pytest.raises(Fenced, match=r"nothing is given out: imported from a backup \(since 2.*fence lift"):
        book.allocate(claim(*wanted))
    (outcome,) = book.allocate_many([claim(*wanted)])
    assert isinstance(outcome, Fenced)
    with pytest.raises(Fenced):
        book.unfenced()
    assert fence.lift(book.database, reason="compared", actor="test")
    book.unfenced()
    assert book.allocate(claim(*wanted))


def test_releases_and_questions_go_on_behind_the_fence(book: Book) -> None:
    book.allocate(claim(0))
    fence.raise_fence(book.database, reason="restored", actor="test")
    assert book.held_by(claim(0).attachment)
    assert len(book.release(claim(0).attachment)) == 1
    assert book.pool("p").allocated == 0


def test_the_fence_remembers_who_turned_it_and_why(book: Book) -> None:
    database = book.database
    assert fence.status(database) is None
    assert fence.raise_fence(database, reason="one", actor="a")
    assert not fence.raise_fence(database, reason="again", actor="b")
    assert fence.lift(database, reason="two", actor="c")
    assert not fence.lift(database, reason="again", actor="d")
    with database.read() as tx:
        turns = [(f.raised, f.reason, f.actor) for f in fences.turns(tx, 9)]
    assert turns == [(False, "two", "c"), (True, "one", "a")]
    newest = fence.status(database)
    assert newest is not None and newest.to_json()["raised"] is False
