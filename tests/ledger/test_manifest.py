"""Text as kubectl takes it: JSON, YAML, several documents, a List; hostile text is refused at once."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidPool
from ledger.pools import PoolSpec, parse, same


def an_object(name: str = "podpool", span: str = "10.0.0.0/24") -> dict[str, object]:
    return {
        "apiVersion": "ipam.k8s.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"ipPoolSubs": [{"range": span}]},
    }


def names(pools: list[PoolSpec]) -> list[str]:
    return [pool.name for pool in pools]


A, B = an_object("a", "10.0.1.0/24"), an_object("b", "10.0.2.0/24")
BARE_A = {key: value for key, value in A.items() if key not in ("apiVersion", "kind")}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(A) + json.dumps(B),
        json.dumps(A) + "\n\n" + json.dumps(B) + "\n",
        yaml.safe_dump_all([A, B]),
        "---\n" + yaml.safe_dump_all([A, None, B], explicit_start=True) + "---\n",
        "# a comment\n---\n" + json.dumps(A) + "\n---\n" + yaml.safe_dump(B),
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [A, B]}),
        yaml.safe_dump({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [A, B]}),
        json.dumps({"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPoolList", "items": [BARE_A, B]}),
    ],
    ids=["json stream", "json lines", "yaml", "empty documents", "mixed", "list", "yaml list", "typed list"],
)
def test_several_pools_in_one_text(text: str) -> None:
    assert names(parse(text, "pools")) == ["a", "b"]
    assert names(parse(text.encode(), "pools")) == ["a", "b"]
    assert names(parse(b"\xef\xbb\xbf" + text.encode(), "pools")) == ["a", "b"]


def test_json_and_yaml_mean_the_same() -> None:
    assert same(parse(json.dumps(A), "a.json")[0], parse(yaml.safe_dump(A), "a.yaml")[0])
    assert same(
        parse(json.dumps(A), "a.json")[0], parse(yaml.safe_dump(A, default_flow_style=True), "a.yaml")[0]
    )


def test_anchors_and_merges_are_taken() -> None:
    text = """
    apiVersion: ipam.k8s.io/v1alpha1
    kind: IPPool
    metadata: {name: a}
    spec:
      ipPoolSubs:
      - &first {range: 10.0.0.0/24, reservedRanges: &kept [10.0.0.9]}
      - {<<: *first, range: 10.0.0.9-10.0.0.9, netmaskBits: 16, reservedRanges: []}
    """
    with pytest.raises(InvalidPool, match=r"overlaps spec\.ipPoolSubs\[0\]"):
        parse(text, "a.yaml")
    assert parse(text.replace("10.0.0.9-10.0.0.9", "10.0.1.9-10.0.1.9"), "a.yaml")[0].capacity == 254


def test_an_ipv6_address_of_decimal_digits_is_no_number_in_base_60() -> None:
    text = yaml.safe_dump(an_object(span="SPAN"))
    text = text.replace("SPAN", "2001:10:20:30:40:50:1:2\n    netmaskBits: 64\n    since: 2026-11-24")
    [found] = parse(text, "a.yaml")
    assert str(found.subs[0].range) == "2001:10:20:30:40:50:1:2"
    assert found.unknown == {"ipPoolSubs[0].since": "2026-11-24"}


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (json.dumps(A) + json.dumps(an_object("b", "nonsense")), "document 2: spec.ipPoolSubs[0].range", ""),
        (yaml.safe_dump_all([A, {"kind": "Pod"}]), "document 2: apiVersion", "must be ipam.k8s.io/v1alpha1"),
        (json.dumps({"apiVersion": "v1", "kind": "List", "items": [A, 7]}), "items[1].IPPool", "must be a mapping"),
        (json.dumps({"apiVersion": "v1", "kind": "List", "items": {}}), "items", "must be a list"),
        (json.dumps({"apiVersion": "v1", "kind": "List"}), "items", "must be a list"),
        (json.dumps({"apiVersion": "v1", "kind": "List", "items": []}), "pools.yaml", "holds no IPPool"),
        (json.dumps(A) * 2, "document 2: metadata.name", "comes twice in pools.yaml"),
        (json.dumps(A).replace("v1alpha1", "v1"), "apiVersion", "must be ipam.k8s.io/v1alpha1"),
        ("", "pools.yaml", "holds no IPPool"),
        ("---\n---\n", "pools.yaml", "holds no IPPool"),
        ("null", "pools.yaml", "holds no IPPool"),
        ("hello", "pools.yaml", "must be an object"),
        ("[]", "pools.yaml", "must be an object"),
        ("7", "pools.yaml", "must be an object"),
        ('{"a": 1,}}', "pools.yaml", "neither JSON nor YAML"),
        ("a: [", "pools.yaml", "(line "),
        ("\tx: 1", "pools.yaml", "neither JSON nor YAML"),
        ("a: *b", "pools.yaml", "undefined alias"),
        ('{"kind": "a", "kind": "b"}', "pools.yaml", "a key comes twice"),
        ("kind: a\nkind: b\n", "pools.yaml", "a key comes twice in one object (line 2)"),
        ('{"a": NaN}', "pools.yaml", "no number that JSON knows"),
        ('{"a": ' + "9" * 5000 + "}", "pools.yaml", "too long"),
        ("a: " + "9" * 5000, "pools.yaml", "too long"),
        ("a: 0x_", "pools.yaml", "malformed"),
        ("a: !!bool perhaps", "pools.yaml", "is no bool (line 1)"),
        ("a: !!timestamp perhaps", "pools.yaml", "is no timestamp"),
        ("!!bool perhaps: a", "pools.yaml", "is no bool"),
        ("a: !!binary aGk=", "pools.yaml", "is no binary"),
        ("a: !!python/object/apply:os.getcwd []", "pools.yaml", "python"),
        ("? [a]\n: b", "pools.yaml", "a key must be text"),
        ("true: b", "IPPool", "a key that is not text"),
        ("a: \ud800", "pools.yaml", ""),
        ("a: \0", "pools.yaml", "neither JSON nor YAML"),
        (b"\xff\xfea\0", "pools.yaml", "is not UTF-8 (byte 0)"),
        ("{}" * 1025, "pools.yaml", "more than 1024 documents"),
    ],
)  # fmt: skip
def test_text_that_is_refused(text: str | bytes, field: str, why: str) -> None:
    with pytest.raises(InvalidPool) as caught:
        parse(text, "pools.yaml")
    assert caught.value.facts()["field"] == field
    assert why in caught.value.why
    assert len(str(caught.value)) < 500


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(12)
)
CHAIN = "- &x0 a\n" + "".join(f"- &x{n} [*x{n - 1}]\n" for n in range(1, 5000))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "aliases written out"),
        (CHAIN, "aliases written out"),
        ("a: &a [*a]", "by aliases"),
        ("a: &a {b: *a}", "by aliases"),
        ("[" * 1_000_000, "nested deeper than 64"),
        ("{a: " * 700_000, "nested deeper than 64"),
        ('{"a":' * 500_000, "nested deeper than 64"),
        ("- " * 1_000_000, "nested deeper than 64"),
        ("- 1\n" * 700_000, "more than 200000 values"),
        ("x" * 3_145_729, "larger than 3145728 bytes"),
        (b"x" * 3_145_729, "larger than 3145728 bytes"),
        ("é" * 1_600_000, "larger than 3145728 bytes"),
    ],
    ids=["bomb", "chain", "cycle", "mapping cycle", "flow", "flow map", "json", "block", "many", "large", "bytes", "é"],
)  # fmt: skip
def test_hostile_text_is_refused_at_once(text: str | bytes, why: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidPool) as caught:
        parse(text, "-")
    assert why in caught.value.why
    assert time.perf_counter() - start < 20  # seconds, on a busy machine


@settings(deadline=None)
@given(st.text() | st.binary() | st.from_regex(r"[-{}\[\]:&*!a, \n\"'#|>?%@0-9.]{0,40}", fullmatch=True))
def test_any_text_is_pools_or_an_error(text: str | bytes) -> None:
    with pytest.raises(InvalidPool):
        parse(text, "-")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(["apiVersion", "kind", "metadata", "spec", "status", "x"]), values)
def test_any_value_in_place_of_a_part(key: str, value: object) -> None:
    try:
        [found] = parse(json.dumps(an_object() | {key: value}), "-")
    except InvalidPool:
        return
    assert found.capacity == 254


PARTS = [
    "ipPoolSubs",
    "staticReservations",
    "addressSpace",
    "pickStrategy",
    "cooldownSeconds",
    "retainFor",
    "new",
]


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(PARTS), values, max_size=4), st.dictionaries(st.text(max_size=8), values)
)
def test_any_value_in_place_of_a_field(fields: dict[str, object], sub: dict[str, object]) -> None:
    spec = {"ipPoolSubs": [sub | {"range": "10.0.0.0/24"}]} | fields
    try:
        [found] = parse(json.dumps(an_object() | {"spec": spec}), "-")
    except InvalidPool as error:
        assert str(error)
        return
    assert same(found, parse(json.dumps(found.to_object()), "-")[0])
