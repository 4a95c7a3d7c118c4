"""``install-cni`` writes one executable file that works by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cni import install as module
from cni.install import base_interpreter, command
from tests.servers import need
from tests.servers.agent import cni_env, k8s_ipam

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


def bring(to: Path, *more: str) -> Result:
    """As for a node whose root is this machine's, so that what was brought runs here."""
    need.program("patchelf", "apt-get install patchelf")
    return CliRunner().invoke(command, ["--root", "/", "--to", str(to), *more])


def interpreter(folder: Path) -> Path:
    """What starts the plugin there."""
    return Path((folder / "k8s-ipam").read_text().splitlines()[0].removeprefix("#!").removesuffix(" -IS"))


def test_a_node_gets_an_interpreter_that_uses_nothing_of_the_node(tmp_path: Path) -> None:
    assert "written" in bring(tmp_path).output
    python = interpreter(tmp_path)
    assert python.is_relative_to(tmp_path / ".k8s-ipam")
    program = (
        "import _json, _socket, json, sys; print(json.dumps([sys.path, open('/proc/self/maps').read()]))"
    )
    done = subprocess.run([python, "-IS", "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stderr == ""
    path, maps = json.loads(done.stdout)
    mapped = {line.split(None, 5)[5] for line in maps.splitlines() if "/" in line}
    assert len(mapped) >= 4  # itself, its loader, its C library …
    foreign = {each for each in mapped | set(path) if not each.startswith(f"{tmp_path}/.k8s-ipam/")}
    data = ("/usr/lib/locale/", "/usr/lib/x86_64-linux-gnu/gconv/")  # a C library's, of any, if there is one
    assert all(each.startswith(data) for each in foreign), foreign


def test_what_was_brought_writes_nothing_of_its_own_and_compiles_nothing(tmp_path: Path) -> None:
    bring(tmp_path)
    before = sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*"))
    python = interpreter(tmp_path)
    subprocess.run([python, "-IS", "-c", "import json, encodings.utf_16_be"], check=True)
    assert sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (b'{"cniVersion": "1.0.0", "ipam": {"socket": "/none/\xc3\xa9\xf0\x9d\x84\x9e"}}', 11),
        (b'{"cniVersion": "1.0.0", nonsense}', 6),
        (b"\xff", 6),
    ],
)
def test_whatever_the_plugin_imports_was_brought(tmp_path: Path, stdin: bytes, code: int) -> None:
    """Not even for what is no JSON, or not ASCII, it looks elsewhere."""
    bring(tmp_path)
    answer = k8s_ipam(cni_env("ADD"), stdin, program=str(tmp_path / "k8s-ipam"))
    assert (answer.code, answer.json["code"]) == (1, code)


def test_what_was_brought_before_stays_as_long_as_a_plugin_may_be_starting_with_it(tmp_path: Path) -> None:
    bring(tmp_path)
    first = interpreter(tmp_path)
    assert "up to date" in bring(tmp_path).output
    assert interpreter(tmp_path) == first

    plugin, old, killed = (tmp_path / name for name in ("k8s-ipam", ".k8s-ipam/0ld", ".k8s-ipam/new-x"))
    for folder in (old, killed):
        (folder / "bin").mkdir(parents=True)
    plugin.write_text(f"#!{old}/bin/python3 -IS\nof yesterday\n")
    assert "written" in bring(tmp_path).output
    assert interpreter(tmp_path) == first
    assert old.exists() and not killed.exists()
    assert "up to date" in bring(tmp_path).output
    assert not old.exists()
    assert "supportedVersions" in run(plugin)


def test_what_was_brought_and_damaged_is_brought_again(tmp_path: Path) -> None:
    bring(tmp_path)
    (interpreter(tmp_path).parents[1] / "lib/libc.so.6").unlink()
    assert "up to date" in bring(tmp_path).output  # the plugin's own file
    assert "supportedVersions" in run(tmp_path / "k8s-ipam")


def test_where_none_can_be_brought_the_plugin_that_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    had = tmp_path / "k8s-ipam"
    had.write_text("of yesterday")
    done = subprocess.run(
        [sys.executable, "-c", "from cni.install import command; command()", "--root", "/", "--to", tmp_path],
        capture_output=True, text=True, env={"PATH": "/nowhere"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no interpreter can be brought to the node: patchelf is not here" in done.stderr
    assert "apt-get install patchelf" in done.stderr
    assert had.read_text() == "of yesterday"
    assert [each.name for each in tmp_path.iterdir()] == ["k8s-ipam"]


@pytest.mark.parametrize("verb", ["ADD", "DEL", "STATUS"])
def test_what_was_installed_for_an_agent_writes_no_ledger(tmp_path: Path, verb: str) -> None:
    """No interpreter of the container is any on the node; an error says what to change."""
    bring(tmp_path)
    stdin = {"cniVersion": "1.0.0", "name": "n", "ipam": {"ipPoolName": "p", "ledger": "sqlite:///x.db"}}
    answer = k8s_ipam(cni_env(verb), stdin, program=str(tmp_path / "k8s-ipam"))
    assert (answer.code, answer.json["code"], answer.json["cniVersion"]) == (1, 7, "1.0.0")
    assert "leave `ledger` out" in answer.json["msg"]


def test_an_interpreter_of_the_node_for_a_ledger_is_named_by_hand(tmp_path: Path) -> None:
    assert bring(tmp_path, "--agentless-python", "/opt/ledger/bin/python").exit_code == 0
    assert "PYTHON = '/opt/ledger/bin/python'" in (tmp_path / "k8s-ipam").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Missing option '--to'"),
        (["--to", "/does/not/exist"], "does not exist"),
        (["--to", "/tmp", "--python", "python3"], "absolute path"),
        (
            ["--to", "/tmp", "--root", "/", "--python", "/usr/bin/python3"],
            "with --root the plugin brings its own",
        ),
        (["--to", "/tmp", "--root", "/usr"], "--to /tmp is not below --root /usr"),
        (["--to", "/tmp", "--root", "/does/not/exist"], "does not exist"),
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
