"""Rule 6: a new owner gets one at random among the free ones, or the lowest where the pool says so."""

from __future__ import annotations

from ledger.store import quick, rows
from tests.ledger.pages import Page


def test_lowest_gives_the_lowest_free_one(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/c c3                  -> 10.9.0.3 lowest
        DEL c2                       -> 10.9.0.2 free
        ADD ns/d c4                  -> 10.9.0.2 lowest
        ADD ns/e c5                  -> 10.9.0.4 lowest
    """)


def test_random_is_the_default_and_gives_each_once(page: Page) -> None:
    page.pool("10.9.0.0/27", pickStrategy=None)
    got = []
    for number in range(30):
        (one,) = page.book.allocate(page.claim(f"ns/pod-{number}", f"c{number}"))
        assert one.event is not None and one.event.reason == "random"
        got.append(one.ip)
    assert sorted(got, key=lambda ip: int(ip.split(".")[3])) == [f"10.9.0.{n}" for n in range(1, 31)]
    assert got != sorted(got, key=lambda ip: int(ip.split(".")[3])), "in order: that is not random"


def test_random_again_after_a_time_as_lowest(page: Page) -> None:
    page.pool("10.9.0.0/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool("10.9.0.0/24", pickStrategy="Random")
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"x{n}"))[0].ip for n in range(8)]
    assert got != [f"10.9.0.{n}" for n in range(2, 10)], "still the lowest"


def test_lowest_after_a_time_as_random(page: Page) -> None:
    page.pool("10.9.0.0/24", pickStrategy="Random")
    page.tell("ADD ns/a c1               -> $x random")
    page.pool("10.9.0.0/24")
    got = [page.book.allocate(page.claim(f"ns/p{n}", f"x{n}"))[0].ip for n in range(8)]
    lowest = [f"10.9.0.{n}" for n in range(1, 10)]
    assert got == [ip for ip in lowest if ip != page.named["$x"]][:8]


def test_the_next_sub_when_one_is_full(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24", "10.9.1.1-10.9.1.2/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/c c3                  -> 10.9.1.1 lowest
        ADD ns/d c4                  -> 10.9.1.2 lowest
        ADD ns/e c5                  -> PoolExhausted IPv4: capacity 4, allocated 4, held 0, cooling 0, asked 4
        DEL c2                       -> 10.9.0.2 free
        ADD ns/e c5                  -> 10.9.0.2 lowest
    """)


def test_a_quick_pick_wraps_once_in_its_own_sub_and_takes_only_what_is_free(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.6/24", "10.9.1.1-10.9.1.6/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        ADD ns/d c4 ip=10.9.0.4      -> 10.9.0.4 requested
        HOLD 10.9.0.1                -> 10.9.0.1 held
    """)
    with page.database.read() as tx:
        pool = page.book._pool(tx, page.mark + "p")
        places = {place.ip: place.rnd for place in rows.list_places(tx, pool.id)}
    picks = quick.Picks(
        pool_id=pool.id, pool=pool.name, version=pool.version, family=4, sub=0, subs=[0, 1], start=places["10.9.0.4"],
        reason="lowest", actor="test",
    )  # fmt: skip
    claims = [(n, page.claim(f"ns/more-{n}", f"more-{n}")) for n in range(5)]
    with page.database.quick() as tx:
        settled = quick.allocate(tx, picks, claims)
    page.answered += [each.event for each in settled if each.event]
    assert {each.index: each.ip for each in settled} == {0: "10.9.0.5", 1: "10.9.0.6", 2: "10.9.0.3"}


def test_what_cooled_down_is_free_for_an_add_that_finds_nothing_else(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.2/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        ADD ns/b c2                  -> 10.9.0.2 lowest
        HOLD 10.9.0.1 for=-1         -> 10.9.0.1 held
        ADD ns/c c3                  -> 10.9.0.1 lowest
    """)
    assert page.ledger("10.9.0.1").splitlines()[2].startswith("3 Freed free ns/a c1 held until ")


def test_a_persons_reason_is_what_the_ledger_says(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD - printer if= net= reason="the printer on floor 3" -> 10.9.0.1 the printer on floor 3
        ADD - printer if= net= reason="once more"              -> 10.9.0.1 again
        ADD - scanner if= net= ip=10.9.0.5 reason=scanner      -> 10.9.0.5 scanner
    """)
    assert page.ledger("10.9.0.1") == "1 Allocated allocated - printer the printer on floor 3"
