"""``install-cni`` writes one executable file that works by itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cni import install as module
from cni.install import base_interpreter, command
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


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's file system as a container sees it: mounted, with the Python 3.11 of Debian."""
    root = tmp_path / "host"
    for folder in ("usr/bin", "opt/cni/bin", "etc/alternatives"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    python(root / "usr/bin/python3.11")
    (root / "usr/bin/python3").symlink_to("python3.11")
    return root


def python(file: Path, mode: int = 0o755) -> None:
    file.write_text("the node's, which may not run here")
    file.chmod(mode)


def link(file: Path, to: str) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(to)


def install_on(node: Path, *more: str) -> Result:
    return CliRunner().invoke(command, ["--root", str(node), "--to", str(node / "opt/cni/bin"), *more])


def test_on_a_node_the_node_s_interpreter_starts_it(node: Path) -> None:
    """Whatever is here, in the container: the system's path, and never what its links lead to today."""
    assert install_on(node).exit_code == 0
    assert (node / "opt/cni/bin/k8s-ipam").read_text().splitlines()[0] == "#!/usr/bin/python3 -IS"


@pytest.mark.parametrize(
    ("named", "links"),
    [
        ("/usr/bin/python3.11", {}),
        ("/bin/python3", {}),
        ("/usr/bin/python3", {"usr/bin/python3": "/etc/alternatives/python3", "etc/alternatives/python3": "/bin/python3.11"}),
        ("/usr/bin/python3", {"usr/bin/python3": "../../../../../usr/bin/python3.11"}),
        ("/opt/cni/../../usr/bin/python3", {}),
    ],
)  # fmt: skip
def test_a_node_s_links_are_followed_on_the_node(node: Path, named: str, links: dict[str, str]) -> None:
    for file, to in links.items():
        link(node / file, to)
    done = install_on(node, "--python", named)
    assert done.exit_code == 0, done.output
    assert (node / "opt/cni/bin/k8s-ipam").read_text().startswith(f"#!{named} -IS\n")


def test_a_name_without_a_version_is_taken_at_its_word(node: Path) -> None:
    (node / "usr/bin/python3").unlink()
    python(node / "usr/bin/python3")
    assert install_on(node).exit_code == 0


@pytest.mark.parametrize(
    ("links", "why"),
    [
        (
            {"usr/bin/python3": "python3.12"},
            "/usr/bin/python3 leads to /usr/bin/python3.12, which is not there",
        ),
        ({"usr/bin/python3": f"{sys.executable}"}, "which is not there"),
        ({"usr/bin/python3": "python3.9"}, "/usr/bin/python3 leads to /usr/bin/python3.9, which is too old"),
        ({"usr/bin/python3": "python2"}, "/usr/bin/python3 leads to /usr/bin/python2, which is too old"),
        ({"usr/bin/python3": "text"}, "/usr/bin/python3 leads to /usr/bin/text, which is no executable file"),
        ({"usr/bin/python3": "/opt"}, "/usr/bin/python3 leads to /opt, which is no executable file"),
        ({"usr/bin/python3": "python3"}, "/usr/bin/python3 cannot be looked at"),
    ],
)
def test_a_node_without_such_an_interpreter_is_told_what_to_do(
    node: Path, links: dict[str, str], why: str
) -> None:
    """And keeps the plugin that it had."""
    had = node / "opt/cni/bin/k8s-ipam"
    had.write_text("of yesterday")
    for name in ("python3.9", "python2"):
        python(node / "usr/bin" / name)
    python(node / "usr/bin/text", mode=0o644)
    for file, to in links.items():
        link(node / file, to)
    done = install_on(node)
    assert done.exit_code == 1
    assert why in done.output
    assert "needs Python 3.11 or newer there: install python3 on the node, or name another" in done.output
    assert had.read_text() == "of yesterday"
    assert [each.name for each in had.parent.iterdir()] == ["k8s-ipam"]


def test_the_oldest_interpreter_is_the_project_s() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, module.OLDEST))


@pytest.mark.parametrize("verb", ["ADD", "DEL", "STATUS"])
def test_what_was_installed_for_an_agent_writes_no_ledger(node: Path, verb: str) -> None:
    """No interpreter of the container is any on the node; an error says what to change."""
    assert install_on(node).exit_code == 0
    file = node / "opt/cni/bin/k8s-ipam"
    file.write_text(file.read_text().replace("/usr/bin/python3", str(base_interpreter()), 1))
    stdin = {"cniVersion": "1.0.0", "name": "n", "ipam": {"ipPoolName": "p", "ledger": "sqlite:///x.db"}}
    answer = k8s_ipam(cni_env(verb), stdin, program=str(file))
    assert (answer.code, answer.json["code"], answer.json["cniVersion"]) == (1, 7, "1.0.0")
    assert "leave `ledger` out" in answer.json["msg"]


def test_an_interpreter_of_the_node_for_a_ledger_is_named_by_hand(node: Path) -> None:
    assert install_on(node, "--agentless-python", "/opt/ledger/bin/python").exit_code == 0
    assert "PYTHON = '/opt/ledger/bin/python'" in (node / "opt/cni/bin/k8s-ipam").read_text()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Missing option '--to'"),
        (["--to", "/does/not/exist"], "does not exist"),
        (["--to", "/tmp", "--python", "python3"], "absolute path"),
        (["--to", "/tmp", "--root", "/", "--python", "python3"], "absolute path"),
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
