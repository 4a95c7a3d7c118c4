"""The SPEC's own words: versions, verbs, error codes, names, and the error object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LATEST = VERSIONS[-1]
UNSAID = "0.1.0"
"""The version of a configuration that names none."""

MAX_STDIN = 1 << 20

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,252}")
"""Container ids and network names (sections 1 and 2). The length is ours: longer ones would not fit an index."""

NO_NAME = "must be a letter or digit, then letters, digits, '_', '.' or '-', at most 253 in all"


class Verb(StrEnum):
    """CNI_COMMAND (section 2)."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


class Code(IntEnum):
    """Error codes: the SPEC's below 100, ours above (interface.md)."""

    INCOMPATIBLE_VERSION = 1
    ENVIRONMENT = 4
    DECODING = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    LIMITED = 51
    POOL_EXHAUSTED = 100
    ADDRESS_UNAVAILABLE = 101
    CHECK_FAILED = 110
    INTERNAL = 199


SINCE: Mapping[Verb, str] = {Verb.CHECK: "0.4.0", Verb.GC: "1.1.0", Verb.STATUS: "1.1.0"}
"""The version that brought a verb; 0.1.0 where none is given."""


class Refusal(Exception):
    """What the runtime gets instead of a result: an error code, a message, details, and the version to say it in."""

    def __init__(self, code: int, msg: str, details: str = "", *, version: str = LATEST) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details
        self.version = version

    def to_json(self) -> bytes:
        """The SPEC's error object (section 5)."""
        said: dict[str, Any] = {"cniVersion": self.version, "code": int(self.code), "msg": self.msg}
        if self.details:
            said["details"] = self.details
        return dump(said)


def versions(asked: str = LATEST) -> bytes:
    """What VERSION prints; ``asked`` is the version of the input."""
    return dump({"cniVersion": asked if asked in VERSIONS else LATEST, "supportedVersions": list(VERSIONS)})


def dump(value: Any) -> bytes:
    """One line of JSON, in ASCII, so that no locale on the way can spoil it."""
    return json.dumps(value).encode() + b"\n"
