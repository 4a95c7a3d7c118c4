"""Ranges are arithmetic: the same answers as counting on one's fingers, at any size, and clear errors."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.addresses import (
    AddressRange,
    AddressSet,
    canonical,
    kept_by_subnet,
    parse_range,
    subnet,
    to_int,
    to_text,
)
from ledger.errors import InvalidPool, InvalidRequest

SMALL = st.integers(0, 80)
spans = st.builds(
    lambda a, b, base: AddressRange(base + min(a, b), base + max(a, b), 4), SMALL, SMALL, st.just(10 << 24)
)


def numbers(found: AddressSet) -> set[int]:
    return {address for each in found.ranges for address in range(each.first, each.last + 1)}


@pytest.mark.parametrize(
    ("text", "first", "last", "prefix"),
    [
        ("10.19.120.0-10.19.123.254/22", "10.19.120.0", "10.19.123.254", 22),
        ("10.0.0.5-10.0.0.9", "10.0.0.5", "10.0.0.9", None),
        ("10.0.0.5-10.0.0.5", "10.0.0.5", "10.0.0.5", None),
        ("10.0.0.0/24", "10.0.0.0", "10.0.0.255", 24),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7", None),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7", 32),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 0),
        (" 10.0.0.5 - 10.0.0.9 / 24 ", "10.0.0.5", "10.0.0.9", 24),
        ("2001:DB8:0::5-2001:db8::00ff/64", "2001:db8::5", "2001:db8::ff", 64),
        ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", 64),
        ("2000::/3", "2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 3),
        ("::1:0:0/96", "::1:0:0", "::1:ffff:ffff", 96),
    ],
)
def test_the_four_spellings(text: str, first: str, last: str, prefix: int | None) -> None:
    found, found_prefix = parse_range(text, "range")
    assert (to_text(found.family, found.first), to_text(found.family, found.last)) == (first, last)
    assert found_prefix == prefix


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.9-10.0.0.1", "the first address comes after the last"),
        ("10.0.0.1-2001:db8::1", "mixes IPv4 and IPv6"),
        ("10.0.0.1-10.0.1.1/24", "not in one /24 subnet"),
        ("10.0.0.5/24", "has host bits set; the whole subnet is 10.0.0.0/24"),
        ("10.0.0.0/33", "a prefix length of IPv4 is 0 to 32, not 33"),
        ("2001:db8::/129", "a prefix length of IPv6 is 0 to 128, not 129"),
        ("10.0.0.0/-1", "'-1' is no prefix length"),
        ("10.0.0.0/024", "'024' is no prefix length"),
        ("10.0.0.0/", "'' is no prefix length"),
        ("10.0.0.0/24/24", "'24/24' is no prefix length"),
        ("10.0.0.0/٢٤", "is no prefix length"),
        ("10.0.0.0/255.255.255.0", "is no prefix length"),
        ("10.0.0.0/99999", "is no prefix length"),
        ("10.0.0.01", "Leading zeros"),
        ("10.0.0.256", "256"),
        ("10.0.0", "Expected 4 octets"),
        ("10.0.0.1-10.0.0.3-10.0.0.9", "10.0.0.3-10.0.0.9"),
        ("10.0.0.1-", ""),
        ("-10.0.0.1", ""),
        ("-", ""),
        ("/24", ""),
        ("", ""),
        ("   ", ""),
        ("10.0.0.1,10.0.0.2", ""),
        ("10.0.0.1 10.0.0.2", ""),
        ("١.٢.٣.٤", ""),
        ("web-0", ""),
        (":::", ""),
        ("fe80::1%eth0", "zone"),
        ("fe80::1%25eth0-fe80::9", "zone"),
        ("::ffff:10.0.0.1", "IPv4-mapped"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::fffe:0:0-::1:0:0:0", "IPv4-mapped"),
        ("::10.0.0.1", "IPv4-compatible"),
        ("::-::1:0:0", "IPv4-compatible"),
        ("::/0", "two spellings"),
        ("1" * 101, "longer than 100 characters"),
        ("1" * 3_000_000, "longer than 100 characters"),
    ],
)
def test_a_bad_range_names_its_field_and_its_value(text: str, why: str) -> None:
    with pytest.raises(InvalidPool) as caught:
        parse_range(text, "spec.ipPoolSubs[0].range")
    assert why in caught.value.why
    assert caught.value.facts()["field"] == "spec.ipPoolSubs[0].range"
    assert caught.value.facts()["value"] == text
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, 7, 10.1, True, b"10.0.0.0/24", ["10.0.0.0/24"], {}])
def test_a_range_that_is_not_text(value: object) -> None:
    with pytest.raises(InvalidPool, match=r"^range: must be text"):
        parse_range(value, "range")


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f:.\-/% ]{0,50}", fullmatch=True))
def test_any_text_is_a_range_or_an_error(text: str) -> None:
    try:
        found, prefix = parse_range(text, "range")
    except InvalidPool:
        return
    assert parse_range(str(found), "range") == (found, None)
    assert prefix is None or subnet(found.family, found.first, prefix).covers(found)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_what_is_printed_reads_back_ipv4(a: int, b: int) -> None:
    span = AddressRange(min(a, b), max(a, b), 4)
    assert parse_range(str(span), "range") == (span, None)


@given(st.integers(2**48, 2**128 - 1), st.integers(2**48, 2**128 - 1), st.integers(0, 128))
def test_what_is_printed_reads_back_ipv6(a: int, b: int, prefix: int) -> None:
    span = AddressRange(min(a, b), max(a, b), 6)
    assert parse_range(str(span), "range") == (span, None)
    whole = subnet(6, a, prefix)
    if whole.first >= 2**48:
        assert parse_range(f"{to_text(6, whole.first)}/{prefix}", "range") == (whole, prefix)
    assert whole.size == 2 ** (128 - prefix) and whole.contains(a)


@pytest.mark.parametrize(("first", "last", "family"), [(5, 4, 4), (-1, 4, 4), (0, 2**32, 4), (0, 2**128, 6)])
def test_no_range_is_upside_down_or_too_large(first: int, last: int, family: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        AddressRange(first, last, family)  # type: ignore[arg-type]


def test_ranges_meet_at_their_ends_and_never_across_families() -> None:
    left, right = AddressRange(10, 20, 4), AddressRange(20, 30, 4)
    assert left.overlaps(right) and right.overlaps(left)
    assert not left.overlaps(AddressRange(21, 30, 4))
    assert not left.overlaps(AddressRange(10, 20, 6))
    assert left.contains(10) and left.contains(20) and not left.contains(21) and not left.contains(9)
    assert left.covers(AddressRange(10, 20, 4)) and not left.covers(right)


@pytest.mark.parametrize(
    ("network", "kept"),
    [
        ("10.0.0.0/24", ["10.0.0.0", "10.0.0.255"]),
        ("10.0.0.4/30", ["10.0.0.4", "10.0.0.7"]),
        ("10.0.0.4/31", []),
        ("10.0.0.4/32", []),
        ("2001:db8::/64", ["2001:db8::"]),
        ("2001:db8::4/126", ["2001:db8::4"]),
        ("2001:db8::4/127", []),
        ("2001:db8::4/128", []),
    ],
)
def test_what_a_subnet_keeps_for_itself(network: str, kept: list[str]) -> None:
    whole, prefix = parse_range(network, "range")
    assert prefix is not None
    assert [str(each) for each, _ in kept_by_subnet(whole, prefix)] == kept


# -- sets, against Python's own -----------------------------------------------------------------------


@given(st.lists(spans, max_size=8))
def test_a_set_is_the_union_of_its_ranges(ranges: list[AddressRange]) -> None:
    model = {address for each in ranges for address in range(each.first, each.last + 1)}
    found = AddressSet.of(4, ranges)
    assert numbers(found) == model
    assert found.size == len(model)
    assert bool(found) == bool(model)
    base = 10 << 24
    assert [address in found for address in range(base - 1, base + 83)] == [
        address in model for address in range(base - 1, base + 83)
    ]


@given(st.lists(spans, max_size=8))
def test_nth_counts_in_ascending_order(ranges: list[AddressRange]) -> None:
    found = AddressSet.of(4, ranges)
    assert [found.nth(index) for index in range(found.size)] == sorted(numbers(found))
    for index in (-1, found.size):
        with pytest.raises(IndexError):
            found.nth(index)


@given(st.lists(spans, max_size=8), st.lists(spans, max_size=8))
def test_minus(ranges: list[AddressRange], holes: list[AddressRange]) -> None:
    left = AddressSet.of(4, ranges).minus(holes)
    assert numbers(left) == numbers(AddressSet.of(4, ranges)) - numbers(AddressSet.of(4, holes))
    assert left.minus(holes) == left


@given(st.lists(spans, max_size=5), st.lists(spans, max_size=5))
def test_overlap_is_the_first_shared_address(ours: list[AddressRange], theirs: list[AddressRange]) -> None:
    a, b = AddressSet.of(4, ours), AddressSet.of(4, theirs)
    expected = min(numbers(a) & numbers(b), default=None)
    assert a.overlap(b) == expected
    assert b.overlap(a) == expected


def test_sets_of_two_families_share_nothing() -> None:
    assert AddressSet(4, (AddressRange(1, 9, 4),)).overlap(AddressSet(6, (AddressRange(1, 9, 6),))) is None


@pytest.mark.parametrize(
    "ranges", [((1, 5), (5, 9)), ((1, 5), (6, 9)), ((6, 9), (1, 2))], ids=["shared", "adjacent", "disordered"]
)
def test_a_set_is_in_one_normal_form(ranges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="disjoint"):
        AddressSet(4, tuple(AddressRange(first, last, 4) for first, last in ranges))
    with pytest.raises(ValueError, match="IPv4"):
        AddressSet(4, (AddressRange(1, 2, 6),))


def test_the_size_of_a_range_costs_nothing() -> None:
    start = time.perf_counter()
    everything, _ = parse_range("0.0.0.0/0", "range")
    huge, _ = parse_range("2000::/3", "range")
    holes = [AddressRange(huge.first + 2**100 * n, huge.first + 2**100 * n + 9, 6) for n in range(1000)]
    left = AddressSet(6, (huge,)).minus(holes)
    assert everything.size == 2**32
    assert left.size == 2**125 - 10_000
    assert left.nth(left.size - 1) == huge.last
    assert left.nth(0) == huge.first + 10
    assert all(left.nth(2**124 + n) in left for n in range(1000))
    assert time.perf_counter() - start < 20  # seconds; walking over any of this would take years


# -- one spelling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("10.0.0.7", "10.0.0.7"),
        (" 10.0.0.7\n", "10.0.0.7"),
        ("2001:DB8:0:0::00A", "2001:db8::a"),
        ("2001:db8::10.0.0.1", "2001:db8::a00:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, spelled: str) -> None:
    assert canonical(text, "ip") == spelled
    assert canonical(spelled, "ip") == spelled


@pytest.mark.parametrize(
    "value",
    [
        "", "10.0.0.0/24", "10.0.0.1-10.0.0.2", "010.0.0.1", "10.0.0.1.", "web-0", "fe80::1%eth0", "::ffff:10.0.0.1",
        "1" * 1000, "10.0.0.1\0", "\ud800", None, 167772161, b"10.0.0.1", True,
    ],
)  # fmt: skip
def test_what_is_no_address_is_an_invalid_request(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        canonical(value, "IP")
    assert caught.value.facts()["field"] == "IP"


@given(st.integers(0, 2**32 - 1))
def test_text_and_number_of_ipv4(address: int) -> None:
    assert to_int(to_text(4, address)) == (4, address)


@given(st.integers(0, 2**128 - 1))
def test_text_and_number_of_ipv6(address: int) -> None:
    assert to_int(to_text(6, address)) == (6, address)


def test_address_order_is_by_family_then_number() -> None:
    ordered = ["9.0.0.1", "10.0.0.2", "10.0.0.10", "::1", "2001:db8::2", "2001:db8::10"]
    assert sorted(sorted(ordered), key=to_int) == ordered


NEARLY = st.text(st.sampled_from("0123456789abcdefABCDEF:.%/ x-+_\0\n\u0663"), max_size=24)
SPELLED = st.one_of(
    NEARLY,
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper()),
    st.lists(
        st.integers(0, 300).map(str) | st.sampled_from(["", "00", "07", "0x1", " 1"]), min_size=3, max_size=5
    ).map(".".join),
    st.tuples(st.sampled_from(["::", "::ffff:", "1::", "1:2:3:4:5:6:"]), st.ip_addresses(v=4).map(str)).map(
        "".join
    ),
    st.tuples(st.ip_addresses().map(str), NEARLY).map("".join),
)


@given(SPELLED)
@example("010.0.0.1")
@example("10.1")
@example("10.0.0.1\n")
@example("::1%eth0")
@example("")
def test_an_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        found = ip_address(text)
    except ValueError:
        with pytest.raises(ValueError):
            to_int(text)
        return
    if "%" in text:
        with pytest.raises(ValueError, match="zone"):
            to_int(text)
    else:
        assert to_int(text) == (found.version, int(found))
