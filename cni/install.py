"""``ipam-ledger install-cni``: the plugin as one self-contained executable file where a runtime looks for it."""

from __future__ import annotations

import contextlib
import errno
import functools
import marshal
import os
import re
import stat
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import click

NAME = "k8s-ipam"
SYSTEM = Path("/usr/bin/python3")
OLDEST = (3, 11)  # as pyproject.toml has it
LINKS = 40  # so many links are followed in one path, as by Linux
SHEBANG_LIMIT = 127  # bytes with "#!": Linux before 5.1 cuts off what is longer
FILE = """\
{shebang}
# Written by `ipam-ledger install-cni`; run it again instead of editing this.
SOURCE = r'''
{client}'''
# The same, compiled: to compile it at each start would be a quarter of the plugin's whole time. What another
# version of Python compiled means nothing to this one (PEP 3147's magic number); that one compiles the source.
# In hexadecimal, which is read sooner than a bytes literal.
CODE = "{code}"
import marshal, sys
if getattr(sys.modules.get("_frozen_importlib_external"), "MAGIC_NUMBER", None) == {magic!r}:
    exec(marshal.loads(bytes.fromhex(CODE)))
else:
    exec(compile(SOURCE, "k8s-ipam", "exec"))
"""


@click.command("install-cni")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder where the runtime looks for plugins, such as /opt/cni/bin or /usr/lib/cni.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the node's file system is mounted, such as /host, when this runs in a container. --python is looked"
    " for there, and nothing is written unless it is there. What the container itself has for Python is not looked at.",
)
@click.option(
    "--python",
    "bare",
    type=click.Path(path_type=Path),
    help="The interpreter that starts the plugin, as the node names it. Default: the system's, if it is"
    " of this program's version, else the one under this program; with --root, /usr/bin/python3."
    " It needs no packages; version 3.11 or newer.",
)
@click.option(
    "--agentless-python",
    "full",
    type=click.Path(path_type=Path),
    help="The interpreter with ipam-ledger installed, for configurations with a `ledger`, as the node names it."
    " Default: this program's; with --root, none: the plugin then refuses such configurations.",
)
def command(folder: Path, root: Path | None, bare: Path | None, full: Path | None) -> None:
    """Put the plugin k8s-ipam where the container runtime looks.

    Writes one executable file that needs nothing but a Python interpreter. Run it again after an upgrade; a
    plugin that is being executed meanwhile is not disturbed.

    \b
      ipam-ledger install-cni --to /opt/cni/bin
      echo '{"cniVersion": "1.1.0"}' | CNI_COMMAND=VERSION /opt/cni/bin/k8s-ipam

    In a container, with the node's /opt/cni/bin and /usr mounted below /host (deploy/agent.yaml does this):

    \b
      ipam-ledger install-cni --root /host --to /host/opt/cni/bin
    """
    if root is None:
        text = render(bare or base_interpreter(), full or Path(sys.executable))
    else:
        text = render(bare or SYSTEM, full)
        if why := unfit(root, bare or SYSTEM):
            raise click.ClickException(
                f"{why}; the plugin needs Python 3.11 or newer there: install python3 on the node,"
                " or name another with --python"
            )
    target = folder / NAME
    try:
        done = put(target, text)
    except OSError as e:
        raise click.ClickException(f"cannot write {target}: {e.strerror}") from e
    click.echo(f"{target}: {'written' if done else 'is up to date'}")


@functools.cache
def base_interpreter() -> Path:
    """The system's interpreter, which outlives every environment, if it reads our bytecode; else the one below this environment."""
    ask = "import sys, _json, _socket; print(sys.implementation.cache_tag)"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            [SYSTEM, "-IS", "-c", ask], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        if said.strip() == sys.implementation.cache_tag:
            return SYSTEM  # not what it links to: after an upgrade of the system that is another
    base: str = getattr(sys, "_base_executable", sys.executable)
    return Path(base).resolve()


def unfit(root: Path, python: Path) -> str | None:
    """What speaks against a node's interpreter, in a sentence's beginning; None if nothing does.

    It is not started: what is made for the node may not run here. So its version is what the name says that the
    links lead to, and a name without a version is taken at its word.
    """
    told = f"the node's {python}"
    try:
        found = within(root, python)
        there = "/" / found.relative_to(root.resolve())
        told += "" if there == python else f" leads to {there}, which"
        mode = found.stat().st_mode
    except FileNotFoundError:
        return f"{told} is not there (looked for below {root})"
    except OSError as e:
        return f"{told} cannot be looked at below {root}: {e.strerror}"
    if not stat.S_ISREG(mode) or not mode & 0o111:
        return f"{told} is no executable file"
    version = re.match(r"python(\d+)(?:\.(\d+))?", found.name)
    if version and (int(version[1]), int(version[2] or OLDEST[1])) < OLDEST:
        return f"{told} is too old"
    return None


def within(root: Path, path: Path) -> Path:
    """Where an absolute path of the node is, each link followed as if ``root`` were ``/``. Raises OSError."""
    root = at = root.resolve()
    todo, links = list(reversed(path.parts[1:])), 0
    while todo:
        part = todo.pop()
        if part == "..":
            at = at if at == root else at.parent
        elif not (at / part).is_symlink():
            at /= part
        else:
            links += 1
            if links > LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = (at / part).readlink()
            at = root if target.is_absolute() else at
            todo += reversed(target.parts[target.is_absolute() :])
    return at


def render(bare: Path, full: Path | None) -> str:
    """The executable's text: the client, with the wire protocol in place of its import, as source and compiled."""
    for path in filter(None, (bare, full)):
        if not path.is_absolute() or "\n" in str(path):
            raise click.UsageError(f"{path}: an interpreter needs an absolute path")
        if "'''" in str(path):
            raise click.UsageError(f"{path}: this path cannot be written into a script")
    room = Path(__file__).parent
    client = (room / "client.py").read_text()
    wire = (room / "wire.py").read_text()
    for line, text in (
        ("from cni.wire import WireError, frame, parse_response, read_frame, request\n", wire),
        ("PYTHON = sys.executable", f"PYTHON = {str(full or '')!r}"),
        ('RELEASE = ""', f"RELEASE = {version('ipam-ledger')!r}"),
    ):
        if client.count(f"\n{line}") != 1:
            raise click.ClickException(f"cni/client.py has no line {line!r}; install ipam-ledger again")
        client = client.replace(f"\n{line}", f"\n{text}")
    # Version 2 of the format: later ones depend on how often an object happens to be referred to, and the same
    # text should give the same file.
    code = marshal.dumps(compile(client, NAME, "exec", dont_inherit=True, optimize=2), 2)
    return FILE.format(shebang=shebang(bare), client=client, code=code.hex(), magic=MAGIC_NUMBER)


def shebang(python: Path) -> str:
    """The first line; where the kernel could not read it, a shell line that Python takes for a string."""
    line = f"#!{python} -IS"
    if len(os.fsencode(line)) <= SHEBANG_LIMIT and not re.search(r"\s", str(python)):
        return line
    quoted = str(python).replace("'", "'\\''")
    if "'''" in quoted or "\\" in str(python):
        raise click.UsageError(f"{python}: this path cannot be written into a script")
    return f"#!/bin/sh\n'''exec' '{quoted}' -IS \"$0\" \"$@\"\n' '''"


def put(target: Path, text: str) -> bool:
    """Replace the file in one step, durably; False if it says so already."""
    with contextlib.suppress(OSError, ValueError):
        if target.read_text() == text and target.stat().st_mode & 0o7777 == 0o755 and not target.is_symlink():
            return False
    fd, temporary = tempfile.mkstemp(prefix=f".{NAME}-", dir=target.parent)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o755)
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
