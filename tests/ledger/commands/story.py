"""A small ledger with some of everything, which the commands are asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

POOL: dict[str, Any] = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "p"},
    "spec": {"ipPoolSubs": [{"range": "10.8.0.1-10.8.0.6/29", "gateway": "10.8.0.6"}]},
}
STORY = """
    10:00 p PoolCreated 10.8.0.0/29
    10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 c=c1 node=n1 reason=random
    10:02 p 10.8.0.2 Allocated router
    10:03 p 10.8.0.1 Allocated default/web-0 uid=u2 c=c2 node=n2 reason=reassigned
    10:04 p 10.8.0.3 Allocated other/db-0 uid=u3 c=c3 node=n1
    10:05 p 10.8.0.3 Held
    10:06 p 10.8.0.4 Allocated default/x c=c4
    10:07 p 10.8.0.4 Released until=10:08
"""
DAY = "2024-11-24T"
EVENT_KEYS = [
    "seq", "at", "kind", "pool", "ip", "version", "state", "namespace", "pod", "podUID", "containerID", "ifName",
    "network", "node", "until", "reason", "actor",
]  # fmt: skip


def pool_file(tmp_path: Path, name: str = "p", **spec: Any) -> str:
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps({**POOL, "metadata": {"name": name}, "spec": {**POOL["spec"], **spec}}))
    return str(file)
