"""The sandboxes that run complete the records, and never contradict them."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.adoption import sandboxes
from ledger.adoption.found import Found, placeholder
from ledger.adoption.objects import read_documents
from ledger.errors import InvalidInput
from ledger.events import Attachment, Owner
from tests.ledger.adopting import example, found

ID = "0c85206ce40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190"
UID = "6b1d2f0e-96a4-4b6c-8b5e-0d5d9d6c3c11"


def completed(record: Found) -> str:
    documents = read_documents(example("sandboxes").read_bytes(), "FILE")
    running, problems = sandboxes.read(documents, "FILE")
    assert problems == []
    [one] = sandboxes.identify([record], running)
    return f"{one.holder} {one.owner.uid} {one.attachment.container_id}"


def test_a_container_gets_its_pod() -> None:
    assert completed(found(f"10.0.0.1 {ID}")[0]) == f"default/web-0 {UID} {ID}"


def test_a_pod_gets_its_container() -> None:
    record = Found(
        "10.0.0.1",
        Owner("default", "web-0"),
        Attachment(placeholder("default", "web-0"), "eth0"),
        "r",
        "test r",
    )
    assert completed(record) == f"default/web-0 {UID} {ID}"


def test_a_pod_gets_its_uid() -> None:
    assert completed(found(f"10.0.0.1 default/web-0 {ID}")[0]) == f"default/web-0 {UID} {ID}"


@pytest.mark.parametrize(
    ("record", "same"),
    [
        ("10.0.0.1 c0ffee", "container c0ffee None c0ffee"),
        ("10.0.0.1 default/web-0 c0ffee", "default/web-0 None c0ffee"),  # another container of that pod: perhaps long gone
        (f"10.0.0.1 default/web-1 {ID}", f"default/web-1 None {ID}"),  # the source says another pod
        ("10.0.0.1 ffffffffe40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190",  # not ready
         "container ffffffffe40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190 None "
         "ffffffffe40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190"),
    ],
)  # fmt: skip
def test_what_the_sandboxes_do_not_speak_of_stays_as_it_is(record: str, same: str) -> None:
    assert completed(found(record)[0]) == same


@pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"items": 5}', b'"x"', b"7"])
def test_what_is_no_list_of_sandboxes(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="FILE: is not what `crictl pods -o json` prints"):
        sandboxes.read(read_documents(raw, "FILE"), "FILE")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (5, "sandbox: must be an object"),
        ({"state": "SANDBOX_READY"}, "metadata: is no name of a pod"),
        (
            {"state": "SANDBOX_READY", "id": "", "metadata": {"name": "a", "namespace": "ns"}},
            "id: is no container id",
        ),
        (
            {
                "state": "SANDBOX_READY",
                "id": "c",
                "metadata": {"name": "a", "namespace": "ns", "uid": "u" * 300},
            },
            "metadata.uid: ",
        ),
    ],
)
def test_a_sandbox_that_cannot_be_read(item: Any, why: str) -> None:
    running, [problem] = sandboxes.read([{"items": [item]}], "FILE")
    assert running == []
    assert problem.origin == "FILE items[0]"
    assert str(problem).startswith(why)
