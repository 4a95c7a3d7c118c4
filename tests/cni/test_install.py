"""``install-cni`` writes one executable file that works by itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from click.testing import CliRunner

from cni import install as module
from cni.install import base_interpreter, command

VERSION = {"CNI_COMMAND": "VERSION"}


def install(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(command, ["--to", str(folder), *more])
    assert done.exit_code == 0, done.output
    return done.output


def run(file: Path) -> str:
    return subprocess.run(
        [file], env=VERSION, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout


def test_the_file_needs_nothing_of_the_project(tmp_path: Path) -> None:
    install(tmp_path)
    file = tmp_path / "k8s-ipam"
    assert file.stat().st_mode & 0o7777 == 0o755
    assert "import" not in [line.split()[0] for line in file.read_text().splitlines() if "from cni" in line]
    assert "supportedVersions" in run(file)


def test_its_interpreter_is_of_no_environment(tmp_path: Path) -> None:
    install(tmp_path)
    first = (tmp_path / "k8s-ipam").read_text().splitlines()[0]
    assert first == f"#!{base_interpreter()} -IS"
    assert not (base_interpreter().parent.parent / "pyvenv.cfg").exists()


@pytest.mark.parametrize("says", ["cpython-27", "", None])
def test_a_system_without_our_version_of_python_gets_the_one_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None
) -> None:
    system = tmp_path / "python3"
    if says is not None:
        system.write_text(f"#!/bin/sh\necho {says}\n")
        system.chmod(0o755)
    monkeypatch.setattr(module, "SYSTEM", system)
    assert base_interpreter.__wrapped__() == Path(sys.executable).resolve()


def test_a_system_with_our_version_of_python_is_taken_at_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "python3"
    system.symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr(module, "SYSTEM", system)
    assert base_interpreter.__wrapped__() == system


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    assert "written" in install(tmp_path)
    before = (tmp_path / "k8s-ipam").stat()
    assert "up to date" in install(tmp_path)
    after = (tmp_path / "k8s-ipam").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", ["text", "mode", "link"])
def test_a_damaged_file_is_replaced_whole(tmp_path: Path, damage: str) -> None:
    install(tmp_path)
    file = tmp_path / "k8s-ipam"
    if damage == "text":
        file.write_bytes(b"\xff garbage")
    elif damage == "mode":
        file.chmod(0o600)
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to("elsewhere")
    assert "written" in install(tmp_path)
    assert not file.is_symlink()
    assert "supportedVersions" in run(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        ["elsewhere", "k8s-ipam"] if damage == "link" else ["k8s-ipam"]
    )


@pytest.mark.parametrize("name", ["python with a space", "it's a snake", "p" * 140])
def test_an_interpreter_that_no_first_line_can_name_is_started_by_a_shell(tmp_path: Path, name: str) -> None:
    python = tmp_path / name
    python.symlink_to(base_interpreter())
    install(tmp_path, "--python", str(python))
    assert (tmp_path / "k8s-ipam").read_text().startswith("#!/bin/sh\n")
    assert "supportedVersions" in run(tmp_path / "k8s-ipam")


def test_another_version_of_python_compiles_the_source(tmp_path: Path) -> None:
    install(tmp_path)
    file = tmp_path / "k8s-ipam"
    assert repr(MAGIC_NUMBER) in file.read_text()
    file.write_text(
        file.read_text().replace(repr(MAGIC_NUMBER), repr(b"\0\0\r\n")).replace('CODE = "', 'CODE = "no')
    )
    assert "supportedVersions" in run(file)


def test_another_process_writes_the_same_file(tmp_path: Path) -> None:
    program = "from cni.install import command; command()"
    install(tmp_path)
    again = subprocess.run(
        [sys.executable, "-c", program, "--to", tmp_path], capture_output=True, text=True, check=True
    )
    assert "up to date" in again.stdout


def test_the_interpreter_for_agentless_mode_is_this_one(tmp_path: Path) -> None:
    install(tmp_path)
    assert f"PYTHON = {sys.executable!r}" in (tmp_path / "k8s-ipam").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Missing option '--to'"),
        (["--to", "/does/not/exist"], "does not exist"),
        (["--to", "/tmp", "--python", "python3"], "absolute path"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], why: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert why in done.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    full = Path("/proc/self")
    if not full.exists():
        pytest.skip("no /proc")
    done = CliRunner().invoke(command, ["--to", str(full)])
    assert done.exit_code == 1
    assert "cannot write /proc/self/k8s-ipam" in done.output


def test_a_plugin_that_runs_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    install(tmp_path)
    file = tmp_path / "k8s-ipam"
    with subprocess.Popen(
        [file], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        file.chmod(0o700)
        assert "written" in install(tmp_path)
        out, _ = running.communicate(b'{"cniVersion": "0.4.0"}')
    assert b'"cniVersion": "0.4.0"' in out


def test_help_teaches(tmp_path: Path) -> None:
    said = CliRunner().invoke(command, ["--help"]).output
    assert "ipam-ledger install-cni --to /opt/cni/bin" in said
