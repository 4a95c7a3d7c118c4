"""The CRD and its examples, read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[2] / "crds"
EXAMPLES: Final = sorted(
    path for path in (FOLDER / "examples").iterdir() if path.suffix in (".json", ".yaml")
)


def schema() -> dict[str, Any]:
    """The structural schema of v1alpha1."""
    [version] = yaml.safe_load((FOLDER / "ippool.yaml").read_text())["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def spec_field(*path: str) -> dict[str, Any]:
    """The schema of a field of ``spec``; ``[]`` goes into a list's items, ``*`` into a map's values."""
    found: dict[str, Any] = schema()["properties"]["spec"]
    for key in path:
        found = (
            found["items"]
            if key == "[]"
            else found["additionalProperties"]
            if key == "*"
            else found["properties"][key]
        )
    return found
