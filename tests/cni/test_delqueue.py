"""The queue of DELs: what was put is there after any crash, until it was applied."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.delqueue import DelQueue
from ledger.errors import DatabaseAway
from ledger.events import Attachment

A = Attachment("c1", "eth0", "podnet")
B = Attachment("c1", "net1", "podnet")
C = Attachment("c2", "eth0", "podnet")


def applied(queue: DelQueue, container_id: str) -> list[Attachment]:
    released: list[Attachment] = []
    queue.apply(container_id, released.append)
    return released


def test_what_was_put_is_applied_once(tmp_path: Path) -> None:
    queue = DelQueue(tmp_path / "q")
    for attachment in (A, B, C, A):
        queue.put(attachment)
    assert len(queue) == 3
    assert sorted(queue.containers()) == ["c1", "c2"]
    assert set(applied(queue, "c1")) == {A, B}
    assert applied(queue, "c1") == []
    assert queue.containers() == ["c2"]


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    DelQueue(tmp_path / "state" / "q").put(A)
    assert applied(DelQueue(tmp_path / "state" / "q"), "c1") == [A]
    assert len(DelQueue(tmp_path / "state" / "q")) == 0


def test_nobody_else_reads_or_writes_it(tmp_path: Path) -> None:
    queue = DelQueue(tmp_path / "q")
    queue.put(A)
    (file,) = queue.folder.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (queue.folder, file)] == [0o700, 0o600]


def test_what_somebody_removed_is_applied_all_the_same(tmp_path: Path) -> None:
    queue = DelQueue(tmp_path / "q")
    queue.put(A)
    shutil.rmtree(queue.folder)
    assert applied(queue, "c1") == [A]
    assert len(queue) == 0


def test_nothing_waits_and_nothing_is_made(tmp_path: Path) -> None:
    assert len(DelQueue(tmp_path / "q")) == 0
    assert not (tmp_path / "q").exists()


def test_a_failure_leaves_the_rest_for_later(tmp_path: Path) -> None:
    queue = DelQueue(tmp_path / "q")
    queue.put(A)
    queue.put(B)
    seen = []

    def release(attachment: Attachment) -> None:
        seen.append(attachment)
        if len(seen) == 2:
            raise DatabaseAway("away")

    with pytest.raises(DatabaseAway):
        queue.apply("c1", release)
    assert len(queue) == 1
    assert applied(DelQueue(tmp_path / "q"), "c1") == [seen[1]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"network": "podnet", "containerID": "c1", "ifName": 7}',
        '{"network": "podnet", "containerID": "another", "ifName": "eth0"}',
        "\udcff",
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_damaged_file_is_set_aside_with_a_word(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = DelQueue(tmp_path / "q")
    queue.put(A)
    queue.put(C)
    (file,) = [path for path in queue.folder.iterdir() if json.loads(path.read_text())["containerID"] == "c1"]
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    (queue.folder / "folder.del").mkdir()
    again = DelQueue(queue.folder)
    assert again.containers() == ["c2"]
    assert "set aside" in caplog.text
    assert file.with_suffix(".broken").exists()
    again.put(A)
    assert applied(DelQueue(queue.folder), "c1") == [A]
    assert applied(again, "c2") == [C]
    assert len(DelQueue(queue.folder)) == 0


def test_a_stranger_s_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("mine")
    queue = DelQueue(tmp_path)
    queue.put(A)
    assert applied(queue, "c1") == [A]
    assert [path.name for path in tmp_path.iterdir()] == ["README"]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """An agent that waits at its start for somebody to write into a pipe serves nobody."""
    os.mkfifo(tmp_path / "pipe.del")
    (tmp_path / "folder.tmp").mkdir()
    assert len(DelQueue(tmp_path)) == 0


def test_a_disk_that_refuses_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        DelQueue(tmp_path / "file" / "q")
    queue = DelQueue(tmp_path / "q")
    (tmp_path / "q").write_text("")
    with pytest.raises(OSError):
        queue.put(A)
    assert len(queue) == 0


@contextlib.contextmanager
def watched(refuse: int = 0) -> Iterator[list[str]]:
    """The calls into the system, by name; it refuses the one with this number."""
    calls: list[str] = []

    def call(frame: object, event: str, what: object) -> None:
        name = getattr(what, "__name__", "")
        if event == "c_call" and (getattr(what, "__module__", None) == "posix" or name == "flush"):
            calls.append(name)
            if len(calls) == refuse:
                raise OSError(errno.EIO, "refused by the test")

    sys.setprofile(call)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_each_step_is_on_the_disk_before_the_next(tmp_path: Path) -> None:
    """A power cut leaves no name without its text, and brings nothing back that was applied."""

    def durable(calls: list[str]) -> list[str]:
        return [name for name in calls if name in ("flush", "fsync", "replace", "unlink")]

    queue = DelQueue(tmp_path / "q")
    with watched() as calls:
        queue.put(A)
    assert durable(calls) == ["flush", "fsync", "replace", "fsync", "fsync"]
    with watched() as calls:
        queue.put(A)  # who wrote it first may not have come as far as the folders
    assert durable(calls) == ["fsync", "fsync"]
    with watched() as calls:
        applied(queue, "c1")
    assert durable(calls) == ["unlink", "fsync"]


def test_a_disk_that_refuses_at_any_step_keeps_no_del_for_the_next_agent_alone(tmp_path: Path) -> None:
    """It would be recorded after its container was started anew, and free that one's address."""
    for at in range(1, 100):
        queue = DelQueue(tmp_path / f"q{at}")
        try:
            with watched(refuse=at):
                queue.put(A)
        except OSError:
            assert not list(queue.folder.glob("*.tmp"))
            assert len(DelQueue(queue.folder)) == len(queue)
        else:
            assert at > 5
            return
    raise AssertionError("it never came through")


CRASHING = """
import os, signal, sys
from pathlib import Path
from cni.delqueue import DelQueue
from ledger.events import Attachment
folder, released, what, at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
queue, attachment = DelQueue(folder), Attachment("c1", "eth0", "podnet")
steps = 0
def step(frame, event, _):
    global steps
    if event == "c_call" and frame.f_code.co_filename.endswith(("delqueue.py", "files.py", "pathlib.py", "json/__init__.py")):
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(step)
if what == "put":
    queue.put(attachment)
else:
    queue.apply("c1", lambda a: released.touch())
sys.setprofile(None)
print("done")
"""


@pytest.mark.parametrize("what", ["put", "apply"])
def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path, what: str) -> None:
    """Killed before each call into C (that is, each system call) in turn, until one run comes through."""
    for at in range(1, 500):
        folder, released = tmp_path / f"q{at}", tmp_path / f"released{at}"
        if what == "apply":
            DelQueue(folder).put(A)
        done = subprocess.run(
            [sys.executable, "-c", CRASHING, str(folder), str(released), what, str(at)],
            capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        finished = done.stdout == "done\n"
        assert finished or done.returncode == -signal.SIGKILL, done.stderr
        left = DelQueue(folder)
        assert not [path for path in folder.glob("*") if path.suffix != ".del"]
        if what == "put":
            assert len(left) == 1 if finished else len(left) in (0, 1)
        else:
            assert released.exists() if len(left) == 0 else not finished
        left.put(A)
        assert applied(left, "c1") == [A]
        if finished:
            assert at > 5
            return
    raise AssertionError("it never came through")
