"""Which sub serves a node: a matching nodeSelector decides; else the sub around the node's address comes first."""

from __future__ import annotations

from tests.ledger.pages import Page

ZONES = (
    {"range": "10.9.1.1-10.9.1.9/24", "nodeSelector": {"zone": "a"}},
    {"range": "10.9.2.1-10.9.2.2/24", "nodeSelector": {"zone": "b"}},
    "10.9.3.1-10.9.3.9/24",
)


def test_a_selector_that_matches_decides(page: Page) -> None:
    page.pool(*ZONES)
    page.node("na", zone="a")
    page.node("nb", zone="b")
    page.node("nc", zone="c")
    page.tell("""
        ADD ns/a c1 node=na          -> 10.9.1.1 lowest
        ADD ns/b c2 node=nb          -> 10.9.2.1 lowest
        ADD ns/c c3 node=nc          -> 10.9.3.1 lowest
        ADD ns/d c4                  -> 10.9.3.2 lowest
        ADD ns/e c5 node=nb          -> 10.9.2.2 lowest
    """)


def test_it_decides_also_when_its_sub_is_full(page: Page) -> None:
    page.pool(*ZONES)
    page.node("na", zone="a")
    page.node("nb", zone="b")
    page.tell("""
        ADD ns/far c0 node=na        -> 10.9.1.1 lowest
        ADD ns/b c2 node=nb          -> 10.9.2.1 lowest
        ADD ns/c c3 node=nb          -> 10.9.2.2 lowest
    """)
    page.evidence.pods = {"ns/far"}
    page.tell(
        "ADD ns/d c4 node=nb       -> PoolExhausted IPv4: capacity 20, allocated 3, held 0, cooling 0, asked 2"
    )
    assert "ns/far" not in page.evidence.asked, "its address would not serve this node"


def test_a_node_that_no_sub_serves_is_told_so(page: Page) -> None:
    page.pool(*ZONES[:2])
    page.node("nc", zone="c")
    page.tell("""
        ADD ns/a c1 node=nc          -> NotOnThisNode
        ADD ns/a c1                  -> NotOnThisNode
        ADD ns/a c1 node=nc ip=10.9.1.5 -> AddressReserved 10.9.1.5
    """)


def test_a_returning_pod_on_another_node_gets_an_address_that_serves_it_there(page: Page) -> None:
    page.pool(*ZONES)
    page.node("na", zone="a")
    page.node("nb", zone="b")
    page.tell("""
        ADD ns/a c1 node=na          -> 10.9.1.1 lowest
        DEL c1                       -> 10.9.1.1 free
        ADD ns/a c2 node=nb          -> 10.9.2.1 lowest
        DEL c2                       -> 10.9.2.1 free
        ADD ns/a c3 node=na          -> 10.9.1.1 returning
    """)


def test_the_sub_around_the_nodes_address_is_preferred(page: Page) -> None:
    page.pool("10.9.1.1-10.9.1.2/24", "10.9.2.1-10.9.2.2/24")
    page.node("n2", "192.0.2.1", "10.9.2.250")
    page.tell("""
        ADD ns/a c1 node=n2          -> 10.9.2.1 lowest
        ADD ns/b c2 node=n2          -> 10.9.2.2 lowest
        ADD ns/c c3 node=n2          -> 10.9.1.1 lowest
        ADD ns/d c4                  -> 10.9.1.2 lowest
        DEL c2                       -> 10.9.2.2 free
        ADD ns/e c5                  -> 10.9.2.2 lowest
    """)
