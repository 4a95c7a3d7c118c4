"""Text of any origin: read to its end, or refused as a whole with the place where it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.adoption import objects
from ledger.adoption.found import Unsaid
from ledger.errors import InvalidInput
from tests.ledger.adopting import READERS, example, page, read


@pytest.mark.parametrize("kind", ["k8s-ipam", "whereabouts"])
def test_a_file_that_was_cut_anywhere_is_refused_as_a_whole(kind: str) -> None:
    raw = example(kind).read_bytes().rstrip()
    for end in range(1, len(raw), 97):
        with pytest.raises(InvalidInput, match="FILE: "):
            read(kind, raw[:end])


def test_a_large_file_that_was_cut_names_the_line() -> None:
    raw = json.dumps([{"kind": "Pod"}] * 200_000, indent=1).encode()
    with pytest.raises(InvalidInput, match=r"FILE: is no JSON, or was cut: .* \(line \d+, column \d+\)"):
        read("k8s-ipam", raw[:-40])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_kubectl_in_any_shell(encoding: str) -> None:
    text = example("k8s-ipam").read_text()
    assert len(page(read("k8s-ipam", text.encode(encoding)))) == 4


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff\xfe\xfd", "is no text"),
        (b'{"a": 1, "a": 2}', "a key comes twice in one object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "holds a number that is too long"),
        (b"[" * 100_000, "nested"),
        (b"\x00\x01\x02\x03", "FILE"),
        (b"no: [", "neither JSON nor YAML"),
    ],
)
def test_what_is_no_list_of_objects(raw: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        read("whereabouts", raw)


def test_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_BYTES", 10)
    with pytest.raises(InvalidInput, match="FILE: is larger than 10 bytes"):
        read("k8s-ipam", b" " * 11)


_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_keys = st.sampled_from(
    ["apiVersion", "kind", "metadata", "name", "namespace", "spec", "status", "range", "allocations", "DynamicReservations",
     "id", "podref", "ifname", "items", "7", "ns"]
)  # fmt: skip
_values: Any = st.recursive(
    _json
    | st.sampled_from(
        [
            "ipam.k8s.io/v1alpha1",
            "whereabouts.cni.cncf.io/v1alpha1",
            "IPPool",
            "10.0.0.0/24",
            "10.0.0.1",
            "a/b",
        ]
    ),
    lambda inner: st.dictionaries(_keys, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=20,
)


@given(_values)
def test_no_object_makes_a_reader_fail(raw: Any) -> None:
    base = {"k8s-ipam": "ipam.k8s.io/v1alpha1", "whereabouts": "whereabouts.cni.cncf.io/v1alpha1"}
    for kind, version in base.items():
        whole = {"apiVersion": version, "kind": "IPPool", "metadata": {"name": "p"}}
        for body in (
            raw,
            whole | {"spec": raw},
            whole | {"status": raw, "spec": {"range": "10.0.0.0/24", "allocations": raw}},
        ):
            reading = READERS[kind](objects.open_lists([body], "FILE"), Unsaid())
            for problem in reading.problems:
                assert problem.origin
                assert str(problem)
