"""A pool with IPv4 and IPv6 subs, and several pools: one address of each, all or nothing."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_one_of_each_family(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::9/64")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest, fd00:9::1 lowest
        ADD ns/a c1                  -> 10.9.0.1 again, fd00:9::1 again
        ADD ns/a c2                  -> 10.9.0.1 reassigned, fd00:9::1 reassigned
        DEL c2                       -> 10.9.0.1 free, fd00:9::1 free
        ADD ns/a c3                  -> 10.9.0.1 returning, fd00:9::1 returning
    """)


def test_when_one_family_is_exhausted_the_other_leaks_nothing(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::1/64")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest, fd00:9::1 lowest
        ADD ns/b c2                  -> PoolExhausted IPv6: capacity 1, allocated 1, held 0, cooling 0, asked 1
        IS 10.9.0.2                  -> free - 0
    """)
    assert page.figures() == (10, 8, 2, 0, 0)


def test_a_pool_that_got_a_second_family_gives_it_to_those_who_ask_again(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("ADD ns/a c1               -> 10.9.0.1 lowest")
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::9/64")
    page.tell("ADD ns/a c1               -> 10.9.0.1 again, fd00:9::1 lowest")


def test_several_pools_all_or_nothing(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.pool("10.9.8.1-10.9.8.1/24", name="q")
    page.tell("""
        ADD ns/a c1 pool=p,q         -> 10.9.0.1 lowest, 10.9.8.1 lowest
        ADD ns/b c2 pool=p,q         -> PoolExhausted IPv4: capacity 1, allocated 1, held 0, cooling 0, asked 1
        ADD ns/b c2 pool=p,none      -> UnknownPool
        ADD ns/b c2 pool=q,p         -> PoolExhausted IPv4: capacity 1, allocated 1, held 0, cooling 0, asked 1
        IS 10.9.0.2                  -> free - 0
        ADD ns/b c2 pool=p           -> 10.9.0.2 lowest
    """)


def test_a_batch_in_which_one_cannot_be_had_gives_the_others_theirs(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::2/64")
    outcomes = page.book.allocate_many([page.claim(f"ns/p{n}", f"c{n}") for n in range(3)])
    words = [
        type(each).__name__ if isinstance(each, Exception) else [one.ip for one in each] for each in outcomes
    ]
    assert words == [["10.9.0.1", "fd00:9::1"], ["10.9.0.2", "fd00:9::2"], "PoolExhausted"]
