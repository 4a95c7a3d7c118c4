"""What the CRD promises and what the code reads are one thing: examples, keys, limits, defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ledger import addresses, pools, poolspec
from ledger.pools import from_spec, overlap, parse
from tests.crds.crd import EXAMPLES, schema, spec_field

AS_IN_THE_DOCUMENTS = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "ippool"},
    "spec": {
        "ipPoolSubs": [
            {
                "range": "10.19.120.0-10.19.123.254/22",
                "reservedRanges": ["10.19.122.230-10.19.122.255/22"],
                "netmaskBits": 22,
                "gateway": "10.19.123.254",
            }
        ]
    },
}


def unknown(value: Any, known: dict[str, Any], path: str = "") -> Iterator[str]:
    """The fields that the schema would prune, and the texts that its patterns refuse."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in known.get("properties", {}):
                yield from unknown(inner, known["properties"][key], f"{path}.{key}")
            elif "additionalProperties" in known:
                yield from unknown(inner, known["additionalProperties"], f"{path}.{key}")
            elif path != ".metadata":
                yield f"{path}.{key}"
    elif isinstance(value, list):
        for inner in value:
            yield from unknown(inner, known["items"], f"{path}[]")
    elif isinstance(value, str) and not re.search(known.get("pattern", ""), value):
        yield f"{path}: {value}"


def fields(known: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, known
    for key, inner in known.get("properties", {}).items():
        yield from fields(inner, f"{path}.{key}")
    for part in ("items", "additionalProperties"):
        if part in known:
            yield from fields(known[part], f"{path}.{part}")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_pool_and_the_schema_knows_its_fields(path: Path) -> None:
    [found] = parse(path.read_bytes(), path.name)
    assert found.name == path.stem
    assert not found.unknown
    assert list(unknown(yaml.safe_load(path.read_text()), schema())) == []


def test_the_example_is_the_one_of_the_documents() -> None:
    [path] = [path for path in EXAMPLES if path.name == "ippool.json"]
    assert json.loads(path.read_text()) == AS_IN_THE_DOCUMENTS
    assert parse(path.read_text(), path.name)[0].capacity == 995


def test_the_schema_would_miss_what_it_does_not_know() -> None:
    bad = {"spec": {"ipPoolSubs": [{"range": "hello", "vlan": 7}], "new": {}}}
    assert sorted(unknown(bad, schema())) == [
        ".spec.ipPoolSubs[].range: hello",
        ".spec.ipPoolSubs[].vlan",
        ".spec.new",
    ]


def test_the_examples_can_be_applied_together() -> None:
    found = [parse(path.read_bytes(), path.name)[0] for path in EXAMPLES]
    assert len(found) == 3
    assert [overlap(a, b) for a, b in combinations(found, 2)] == [None] * 3


def test_every_field_is_described() -> None:
    undescribed = [path for path, known in fields(schema()) if len(known.get("description", "")) < 10]
    assert undescribed == [".metadata"]  # the API server allows none there


def test_code_and_schema_know_the_same_fields() -> None:
    assert set(spec_field()["properties"]) == poolspec.SPEC_FIELDS
    assert set(spec_field("ipPoolSubs", "[]")["properties"]) == poolspec.SUB_FIELDS


def test_code_and_schema_have_the_same_limits() -> None:
    assert spec_field("ipPoolSubs")["maxItems"] == pools.MAX_SUBS
    assert spec_field("ipPoolSubs", "[]", "range")["maxLength"] == addresses.MAX_RANGE_TEXT
    assert spec_field("ipPoolSubs", "[]", "reservedRanges")["maxItems"] == pools.MAX_RESERVED
    assert spec_field("ipPoolSubs", "[]", "reservedRanges", "[]")["maxLength"] == addresses.MAX_RANGE_TEXT
    assert spec_field("ipPoolSubs", "[]", "nodeSelector")["maxProperties"] == pools.MAX_LABELS
    assert spec_field("staticReservations", "*")["maxProperties"] == pools.MAX_STATIC
    assert spec_field("cooldownSeconds")["maximum"] == pools.MAX_COOLDOWN
    assert spec_field("retainFor")["maxItems"] == pools.MAX_RETAIN


def test_code_and_schema_have_the_same_defaults() -> None:
    bare = from_spec("bare", {"ipPoolSubs": [{"range": "10.0.0.0/24"}]})
    assert spec_field("addressSpace")["default"] == bare.address_space
    assert spec_field("pickStrategy")["default"] == bare.pick_strategy
    assert spec_field("cooldownSeconds")["default"] == bare.cooldown_seconds
    assert tuple(spec_field("retainFor")["default"]) == bare.retain_for
