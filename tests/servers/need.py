"""What a test needs of the machine, and what happens when it is not there."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

CI = "IPAM_LEDGER_CI"
"""Set to 1 where everything is promised to be installed: a missing part then fails the test."""


def missing(what: str, how: str) -> NoReturn:
    """Skip this test, or fail it in CI. ``how``: the command or the step that mends it."""
    sentence = f"{what} is missing: {how}"
    if os.environ.get(CI) == "1":
        pytest.fail(f"{sentence} ({CI}=1: nothing may be missing)", pytrace=False)
    pytest.skip(sentence)


def program(name: str, how: str) -> str:
    """The path of a program, also where root's folders are not in PATH."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path) or missing(name, how)


def root() -> None:
    """The test makes namespaces or runs a container runtime."""
    if os.geteuid() != 0:
        missing("root", "run the tests as root, for example with sudo")
