"""What a machine knows of itself as a node, without asking anybody."""

from __future__ import annotations

from ipaddress import ip_address

from cni.node import own_addresses


def test_its_addresses_are_addresses_one_of_a_family_at_most() -> None:
    found = [ip_address(text) for text in own_addresses()]
    assert len({each.version for each in found}) == len(found)
    assert not any(each.is_unspecified for each in found)
