"""Rule 4: an address asked for is given, or it is said who has it, why it is never given, or that it is outside."""

from __future__ import annotations

from tests.ledger.pages import Page


def test_it_is_given_when_it_is_free(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 requested
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 again
        ADD - box ip=10.9.0.8        -> 10.9.0.8 requested
    """)


def test_one_that_another_has_is_refused_and_says_who(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 requested
        ADD ns/b c2 ip=10.9.0.7      -> AddressTaken 10.9.0.7 allocated ns/a
        ADD - box ip=10.9.0.8        -> 10.9.0.8 requested
        ADD ns/b c2 ip=10.9.0.8      -> AddressTaken 10.9.0.8 allocated container box
        ADD ns/b c2                  -> 10.9.0.1 lowest
    """)


def test_one_that_the_pool_never_gives_is_refused(page: Page) -> None:
    page.pool(
        {
            "range": "10.9.0.0-10.9.0.255/24",
            "gateway": "10.9.0.254",
            "reservedRanges": ["10.9.0.100-10.9.0.110"],
        }
    )
    page.tell("""
        ADD ns/a c1 ip=10.9.0.0      -> AddressReserved 10.9.0.0
        ADD ns/a c1 ip=10.9.0.255    -> AddressReserved 10.9.0.255
        ADD ns/a c1 ip=10.9.0.254    -> AddressReserved 10.9.0.254
        ADD ns/a c1 ip=10.9.0.105    -> AddressReserved 10.9.0.105
        ADD ns/a c1 ip=10.9.1.1      -> AddressOutsidePool 10.9.1.1
        ADD ns/a c1 ip=fd00::1       -> AddressOutsidePool fd00::1
        ADD ns/a c1 ip=nonsense      -> InvalidRequest
        ADD ns/a c1 ip=10.9.0.1/24   -> InvalidRequest
        ADD ns/a c1 ip=10.9.0.1,10.9.0.2 -> InvalidRequest
    """)
    assert page.figures()[2:] == (0, 0, 0)


def test_one_that_is_held_or_cooling_is_kept_for_its_owner(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", cooldownSeconds=3600)
    page.tell("""
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 requested
        DEL c1                       -> 10.9.0.7 cooling
        ADD ns/b c2 ip=10.9.0.7      -> AddressTaken 10.9.0.7 cooling ns/a
        ADD ns/a c3 ip=10.9.0.7      -> 10.9.0.7 requested
        DEL c3                       -> 10.9.0.7 cooling
        HOLD 10.9.0.7                -> 10.9.0.7 held
        ADD ns/b c2 ip=10.9.0.7      -> AddressTaken 10.9.0.7 held ns/a
        ADD ns/a c4 ip=10.9.0.7      -> 10.9.0.7 requested
    """)


def test_one_whose_time_has_come_is_free_though_no_sweep_came_by(patient_page: Page) -> None:
    page = patient_page
    page.pool("10.9.0.1-10.9.0.9/24", cooldownSeconds=1)
    page.tell("""
        ADD ns/a c1 ip=10.9.0.7      -> 10.9.0.7 requested
        DEL c1                       -> 10.9.0.7 cooling
        ADD ns/a c2 ip=10.9.0.8      -> 10.9.0.8 requested
        HOLD 10.9.0.8 for=-1         -> 10.9.0.8 held
        WAIT 1.05
        ADD ns/b c3 ip=10.9.0.7      -> 10.9.0.7 requested
        ADD ns/c c4 ip=10.9.0.8      -> 10.9.0.8 requested
    """)


def test_one_of_each_family(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", "fd00:9::1-fd00:9::9/64")
    page.tell("""
        ADD ns/a c1 ip=fd00:9:0::5,10.9.0.5 -> 10.9.0.5 requested, fd00:9::5 requested
        ADD ns/b c2 ip=fd00:9::6     -> 10.9.0.1 lowest, fd00:9::6 requested
        ADD ns/c c3 ip=10.9.0.9,fd00:9::6 -> AddressTaken fd00:9::6 allocated ns/b
        IS 10.9.0.9                  -> free - 0
    """)


def test_with_several_pools_each_goes_to_its_own(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.pool("10.9.8.1-10.9.8.9/24", name="q")
    page.tell("""
        ADD ns/a c1 pool=p,q ip=10.9.8.5 -> 10.9.0.1 lowest, 10.9.8.5 requested
        ADD ns/b c2 pool=p ip=10.9.8.6   -> AddressOutsidePool 10.9.8.6
    """)


def test_a_pod_that_had_another_one_gets_the_one_that_it_asks_for(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24")
    page.tell("""
        ADD ns/a c1                  -> 10.9.0.1 lowest
        DEL c1                       -> 10.9.0.1 free
        ADD ns/a c2 ip=10.9.0.7      -> 10.9.0.7 requested
        DEL c2                       -> 10.9.0.7 free
        ADD ns/a c3                  -> 10.9.0.7 returning
    """)


def test_del_and_add_again_as_a_network_reload_does(page: Page) -> None:
    page.pool("10.9.0.1-10.9.0.9/24", cooldownSeconds=3600)
    page.tell("""
        ADD - box                    -> 10.9.0.1 lowest
        DEL box                      -> 10.9.0.1 cooling
        ADD - box ip=10.9.0.1        -> 10.9.0.1 requested
    """)
