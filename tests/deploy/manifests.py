"""What is in ``deploy/``, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
NAMESPACE = "ipam-ledger"


def manifests() -> list[dict[str, Any]]:
    return [
        each
        for file in sorted((ROOT / "deploy").glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for each in yaml.safe_load_all(file.read_text())
    ]


def pods() -> list[dict[str, Any]]:
    """The ``spec`` of each pod."""
    return [each["spec"]["template"]["spec"] for each in manifests() if "template" in each.get("spec", {})]


def containers() -> list[dict[str, Any]]:
    return [each for pod in pods() for each in pod["containers"] + pod.get("initContainers", [])]
