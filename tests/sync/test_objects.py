"""What the API server says is read tolerantly, and what is no such object is refused in one word."""

from __future__ import annotations

from typing import Any

import pytest

from sync.objects import IPPool, NotAnObject, Pod, StatefulSet, is_static_uid, set_of
from tests.sync.pages import ippool


def meta(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web-0", "namespace": "a", "uid": "u1", "resourceVersion": "7", **more}}


def test_a_pool_is_read_with_what_it_shows() -> None:
    pool = IPPool.from_raw(ippool(finalizers=["x"], deletionTimestamp="now", status={"ledgerSeq": 9}))
    assert (pool.meta.name, pool.meta.deleting, pool.meta.finalizers, pool.ledger_seq) == (
        "p", True, ("x",), 9,
    )  # fmt: skip
    assert IPPool.from_raw(ippool(status=None)).ledger_seq == 0


def test_a_pod_has_the_uid_that_cni_hears_also_if_it_is_static() -> None:
    assert Pod.from_raw(meta()).uid == "u1"
    mirror = meta(annotations={"kubernetes.io/config.mirror": "3f1c9d0a"})
    assert Pod.from_raw(mirror).uid == "3f1c9d0a"
    assert is_static_uid("3f1c9d0a") and not is_static_uid("aa-bb") and not is_static_uid(None)


@pytest.mark.parametrize(("phase", "finished"), [("Succeeded", True), ("Failed", True), ("Unknown", False)])
def test_only_two_phases_are_an_end(phase: str, finished: bool) -> None:
    assert Pod.from_raw({**meta(), "status": {"phase": phase}}).finished is finished


@pytest.mark.parametrize(
    ("spec", "ordinals"),
    [
        ({"replicas": 2}, [0, 1]),
        ({}, [0]),  # the API's default is one replica
        ({"replicas": 2, "ordinals": {"start": 3}}, [3, 4]),
        ({"replicas": 0}, []),
        ({"replicas": "many"}, []),
    ],
)
def test_a_statefulset_has_these_ordinals(spec: dict[str, Any], ordinals: list[int]) -> None:
    found = StatefulSet.from_raw({**meta(), "spec": spec})
    assert [ordinal for ordinal in range(8) if found.has(ordinal)] == ordinals


@pytest.mark.parametrize(
    ("pod", "of"),
    [
        ("web-0", ("web", 0)),
        ("a-b-12", ("a-b", 12)),
        ("web-01", None),
        ("web", None),
        ("web-7d9f8-x2x4z", None),
        ("-1", None),
    ],
)
def test_a_name_says_which_set_could_have_made_the_pod(pod: str, of: object) -> None:
    assert set_of(pod) == of


@pytest.mark.parametrize("raw", [None, [], {}, {"metadata": {"name": "x"}}, {"metadata": "x"}])
def test_what_is_no_object_is_refused(raw: Any) -> None:
    for read in (IPPool.from_raw, Pod.from_raw, StatefulSet.from_raw):
        with pytest.raises(NotAnObject):
            read(raw)
