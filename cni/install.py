"""``ipam-ledger install-cni``: the plugin as one self-contained executable file where a runtime looks for it."""

from __future__ import annotations

import contextlib
import functools
import marshal
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import MAGIC_NUMBER
from pathlib import Path, PurePosixPath

import click

from cni import carried
from ledger.files import sync

NAME = "k8s-ipam"
SYSTEM = Path("/usr/bin/python3")
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
    help="Where the node's file system is mounted, such as /host, when this runs in a container. The plugin then brings"
    " its interpreter along, into a folder beside it, and the node needs none.",
)
@click.option(
    "--python",
    "bare",
    type=click.Path(path_type=Path),
    help="The interpreter that starts the plugin. Default: the system's, if it is of this program's version, else"
    " the one under this program. It needs no packages; version 3.11 or newer. Not with --root.",
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
    Examples:
      ipam-ledger install-cni --to /opt/cni/bin
      echo '{"cniVersion": "1.1.0"}' | CNI_COMMAND=VERSION /opt/cni/bin/k8s-ipam

    In a container, with the node's /opt/cni/bin mounted below /host (deploy/agent.yaml does this):

    \b
      ipam-ledger install-cni --root /host --to /host/opt/cni/bin

    Exit status: 0 written, 1 it cannot be, and why is said, 2 wrong usage.
    """
    target = folder / NAME
    try:
        if root is None:
            done = put(target, render(bare or base_interpreter(), full or Path(sys.executable)))
        elif bare is not None:
            raise click.UsageError("--python: with --root the plugin brings its own interpreter along")
        else:
            done = bring(target, root, full)
    except carried.CannotCarry as e:
        raise click.ClickException(f"no interpreter can be brought to the node: {e}") from e
    except OSError as e:
        raise click.ClickException(f"cannot write {target}: {e.strerror}") from e
    click.echo(f"{target}: {'written' if done else 'is up to date'}")


def bring(target: Path, root: Path, full: Path | None) -> bool:
    """The plugin, for a node that needs no interpreter: see :mod:`cni.carried`. False if it is there already."""
    folder = target.parent
    try:
        named = PurePosixPath("/", folder.resolve().relative_to(root.resolve()))
    except ValueError:
        raise click.UsageError(f"--to {folder} is not below --root {root}") from None
    before = target.read_text(errors="replace") if target.exists() else ""
    text = render(carried.carry(base_interpreter(), folder, named), full)
    done = put(target, text)
    carried.clear(folder, before, text)
    return done


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
    sync(target.parent)
    return True
