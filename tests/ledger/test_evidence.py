"""Evidence that an owner has ended is positive or it is none: an error, silence, or half a file is none."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidInput
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.evidence import CommandEvidence, FileEvidence, NeverGone, parse_evidence


def holder(
    namespace: str | None = "shop", pod: str | None = "web-0", uid: str | None = "u1", container: str = "c1"
) -> Event:
    return Event(
        7, datetime(2026, 11, 24, 10, tzinfo=UTC), Kind.ALLOCATED, "ippool", "10.0.0.7", 1, State.ALLOCATED,
        Owner(namespace, pod, uid), Attachment(container, "eth0", "podnet"), "node1", None, None, None,
    )  # fmt: skip


def listed(tmp_path: Path, text: str) -> FileEvidence:
    (tmp_path / "gone").write_text(text)
    return FileEvidence(tmp_path / "gone")


@pytest.mark.parametrize(
    ("text", "who", "ended"),
    [
        ("shop/web-0\n", holder(), True),
        ("shop/web-0 u1\n", holder(), True),
        ("shop/web-0 u2\n", holder(), False),
        ("shop/web-0 u1\n", holder(uid=None), False),
        ("shop/web-1\n", holder(), False),
        ("# list\n\n  shop/web-0\t\n", holder(), True),
        ("c1\n", holder(), True),
        ("c1\n", holder(namespace=None), True),
        ("c2\n", holder(), False),
        ("shop/web-0\n", holder(namespace=None), False),
        ("", holder(), False),
    ],
)
def test_a_file_lists_who_has_ended(tmp_path: Path, text: str, who: Event, ended: bool) -> None:
    said = listed(tmp_path, text).ended(who)
    assert (said is not None) == ended
    assert said is None or "listed in gone" in said


@pytest.mark.parametrize("text", ["shop/web-0", "other/x\nshop/web-0 u1", "c1"])
def test_a_line_that_is_being_written_is_not_taken(tmp_path: Path, text: str) -> None:
    """shop/web-0 may become shop/web-01."""
    assert listed(tmp_path, text).ended(holder()) is None


@pytest.mark.parametrize(
    "garbage", ["a/b/c\n", "shop/\n", "/web-0\n", "shop/web-0 u1 u2\n", "c1 u1\n", "\0\n", "a\x1bb\n"]
)
def test_one_line_of_garbage_makes_the_file_no_evidence(tmp_path: Path, garbage: str) -> None:
    assert listed(tmp_path, "shop/web-0\n" + garbage).ended(holder()) is None


def test_what_cannot_be_read_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FileEvidence(tmp_path / "missing").ended(holder()) is None
    assert FileEvidence(tmp_path).ended(holder()) is None
    (tmp_path / "bytes").write_bytes(b"shop/web-0\n\xff\n")
    assert FileEvidence(tmp_path / "bytes").ended(holder()) is None
    os.mkfifo(tmp_path / "pipe")
    assert FileEvidence(tmp_path / "pipe").ended(holder()) is None
    monkeypatch.setattr(FileEvidence, "LIMIT", 5)
    assert listed(tmp_path, "shop/web-0\n").ended(holder()) is None


def test_the_file_is_read_at_the_moment_of_asking(tmp_path: Path) -> None:
    evidence = listed(tmp_path, "shop/web-1\n")
    assert evidence.ended(holder()) is None
    (tmp_path / "gone").write_text("shop/web-1\nshop/web-0\n")
    assert evidence.ended(holder()) is not None
    (tmp_path / "gone").unlink()
    assert evidence.ended(holder()) is None


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_not_but_never_fail(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "gone").write_bytes(raw)
    FileEvidence(tmp_path / "gone").ended(holder())


def asked(script: str, seconds: float = 5.0, who: Event | None = None) -> str | None:
    return CommandEvidence(["sh", "-c", script], seconds=seconds).ended(who or holder())


def test_a_command_that_says_gone_and_ends_well() -> None:
    assert asked("echo gone") == "sh: gone"
    assert asked("echo gone since Tuesday; echo more") == "sh: gone since Tuesday"


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "echo",
        "echo Gone",
        "echo gonefishing",
        "echo not gone",
        "echo; echo gone",
        "echo gone; exit 1",
        "echo gone >&2",
        "kill -9 $$",
    ],
)
def test_anything_else_is_no_evidence(script: str) -> None:
    assert asked(script) is None


def test_a_command_that_is_not_there() -> None:
    assert CommandEvidence(["/does/not/exist"]).ended(holder()) is None
    assert CommandEvidence([""]).ended(holder()) is None


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lives")  # its end comes when the last of them has ended
    script = f"exec 3> {tmp_path}/lives; (sleep 60) & echo begun >&3; echo gone; sleep 60"
    begun = time.monotonic()
    with os.fdopen(os.open(tmp_path / "lives", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as lives:
        for seconds in (0.3, 3.0):  # on a busy machine it may not even have begun
            assert asked(script, seconds=seconds) is None
            if said := lives.read():
                break
        assert said == b"begun\n"
        assert time.monotonic() - begun < 40
        while lives.read() is None:
            assert time.monotonic() - begun < 40, "a child of it lives on"
            time.sleep(0.01)


def test_the_holder_is_in_its_environment() -> None:
    names = ("NAMESPACE", "POD", "UID", "CONTAINER_ID", "IF_NAME", "NETWORK", "NODE", "POOL", "IP", "SINCE")
    script = "echo gone " + " ".join(f"$IPAM_LEDGER_HOLDER_{name}" for name in names)
    assert (
        asked(script)
        == "sh: gone shop web-0 u1 c1 eth0 podnet node1 ippool 10.0.0.7 2026-11-24T10:00:00.000000Z"
    )
    assert asked('echo "gone [$IPAM_LEDGER_HOLDER_NAMESPACE]"', who=holder(namespace=None)) == "sh: gone []"


def test_its_words_are_fit_for_the_ledger() -> None:
    assert asked("printf 'gone \\033[1ma\\000b\\377'") == "sh: gone [1mab\ufffd"
    assert len(asked("printf 'gone %0999d' 7") or "") < 220


def test_evidence_is_chosen_by_a_word(tmp_path: Path) -> None:
    assert isinstance(parse_evidence("never"), NeverGone)
    assert parse_evidence("never").ended(holder()) is None
    (tmp_path / "a list").write_text("c1\n")
    assert parse_evidence(f"file:{tmp_path}/a list").ended(holder()) is not None
    assert (
        parse_evidence("command: sh -c 'echo gone \"$IPAM_LEDGER_HOLDER_POD\"'").ended(holder())
        == "sh: gone web-0"
    )


@pytest.mark.parametrize(
    "text",
    ["", "always", "file:", "file:relative", "command:", "command: ", "command:'x", "never:x", "NEVER"],
)
def test_another_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="evidence"):
        parse_evidence(text)
