"""Records as other IPAMs write them, and what was made of them, in short lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger import pools
from ledger.adoption import k8s_ipam, whereabouts
from ledger.adoption.found import Found, Reading, Unsaid
from ledger.adoption.objects import open_lists, read_documents
from ledger.adoption.verdict import Line
from ledger.events import Attachment, Owner
from ledger.poolspec import PoolSpec

FOLDER = Path(__file__).parent / "adoption"
READERS = {"k8s-ipam": k8s_ipam.read, "whereabouts": whereabouts.read}


def example(kind: str) -> Path:
    return FOLDER / f"{kind}.json"


def read(kind: str, raw: Any, unsaid: Unsaid | None = None) -> Reading:
    """``raw``: bytes or text as a file holds them, or the object itself."""
    if not isinstance(raw, bytes | str):
        raw = json.dumps(raw)
    raw = raw.encode() if isinstance(raw, str) else raw
    return READERS[kind](open_lists(read_documents(raw, "FILE"), "FILE"), unsaid or Unsaid())


def page(reading: Reading) -> list[str]:
    """Each record as ``ip owner container/interface/network origin``, in order of the text."""
    return sorted(
        f"{each.ip} {each.holder} {each.attachment.container_id[:12]}/{each.attachment.if_name}/{each.attachment.network}"
        f" {each.origin}"
        for each in reading.found
    )


def wrong(reading: Reading) -> list[str]:
    return [f"{each.origin} | {each}" for each in reading.problems]


def found(text: str) -> list[Found]:
    """Records from lines ``ip owner [container] [interface] [pool=…]``; an owner without a slash is a container."""
    out = []
    for line in text.strip().splitlines():
        words = [word for word in line.split() if "=" not in word]
        keys = dict(word.split("=") for word in line.split() if "=" in word)
        ip, who, *rest = words
        namespace, _, pod = who.partition("/")
        owner = Owner(namespace, pod) if pod else Owner()
        attachment = Attachment(rest[0] if rest else who.replace("/", "-"), rest[1] if rest[1:] else "eth0")
        out.append(Found(ip, owner, attachment, "r", f"test {keys.get('in', 'r')}", keys.get("pool")))
    return out


def verdicts(lines: Sequence[Line]) -> list[str]:
    return [
        f"{line.found.ip} {line.found.holder}: {line.verdict.value}{f' ({line.why})' if line.why else ''}"
        for line in lines
    ]


def pool(name: str = "p", span: str = "10.9.0.1-10.9.0.20/24", **more: Any) -> PoolSpec:
    return pools.from_spec(name, {"ipPoolSubs": [{"range": span, "gateway": None}], **more})
