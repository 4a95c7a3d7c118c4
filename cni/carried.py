"""The interpreter that ``install-cni --root`` carries to a node, which then needs none: the one of this container, bare.

What is carried is what that interpreter has open once it imported all that the client may ask for: itself, its loader, its
libraries, the modules' files. ``patchelf`` makes it look for them beside itself, and nowhere else on the node.

::

    /opt/cni/bin/k8s-ipam                            #!/opt/cni/bin/.k8s-ipam/3f0c…/bin/python3 -IS
    /opt/cni/bin/.k8s-ipam/3f0c…/bin/python3
    /opt/cni/bin/.k8s-ipam/3f0c…/lib/                its loader, its C library, …
    /opt/cni/bin/.k8s-ipam/3f0c…/lib/python3.11/     encodings, json, …
"""

from __future__ import annotations

import compileall
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode

from ledger.files import sync

FOLDER = ".k8s-ipam"
PROGRAM = PurePosixPath("bin/python3")

# What the client imports, json for what is none, and every codec. By `os` an interpreter knows its library.
_ASK = """
import _json, _signal, _socket, encodings, json, marshal, os, posix, sys
real = os.path.realpath
codecs = {each.path for each in os.scandir(encodings.__path__[0]) if each.name.endswith(".py")}
files = {module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)}
print(json.dumps({
    "program": real(sys.executable),
    "prefix": real(sys.base_prefix),
    "library": real(os.path.dirname(os.__file__)),
    "modules": sorted(map(real, codecs | files)),
    "mapped": sorted({real(line.split(None, 5)[5].rstrip()) for line in open("/proc/self/maps") if "/" in line}),
}))
"""

_Files = Mapping[PurePosixPath, Path]
"""Where each file goes below the interpreter's folder, and where it is here."""


class CannotCarry(Exception):
    """Of the interpreter here nothing can be made that starts on a node; the message says why."""


def carry(python: Path, to: Path, named: PurePosixPath) -> Path:
    """Put an interpreter below ``to``, which the node calls ``named``, unless it is there; returns its path on the node.

    It is on the disk then. An other one that a plugin in ``to`` is started by stays where it is; older ones go. Raises
    CannotCarry, OSError.
    """
    files, loader = _look(python)
    digest = sha256(bytes(named))
    for target, source in sorted(files.items()):
        digest.update(b"\0%b\0%b" % (bytes(target), sha256(source.read_bytes()).digest()))
    name = digest.hexdigest()[:16]
    folder = to / FOLDER / name
    if not all((folder / target).exists() for target in files):
        folder.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
        try:
            _make(made, files, loader, named / FOLDER / name)
            shutil.rmtree(folder, ignore_errors=True)  # something of it was removed
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        sync(folder.parent)
    return Path(named / FOLDER / name / PROGRAM)


def clear(to: Path, *texts: str) -> None:
    """Remove the interpreters below ``to`` that none of these plugins names."""
    used = {name for text in texts for name in re.findall(rf"/{re.escape(FOLDER)}/(\w+)/", text)}
    for each in (to / FOLDER).iterdir():
        if each.name not in used:
            shutil.rmtree(each, ignore_errors=True)


def _look(python: Path) -> tuple[_Files, PurePosixPath]:
    """The files, and which of them is the loader."""
    here = json.loads(_run(str(python), "-IS", "-c", _ASK))
    program, library = Path(here["program"]), Path(here["library"])
    home = PurePosixPath(library.relative_to(here["prefix"]))
    files = {home / each.relative_to(library): each for each in map(Path, here["modules"])}
    files |= {home / "os.py": library / "os.py", PROGRAM: program}
    for each in set(map(Path, here["mapped"])) - set(files.values()):
        with each.open("rb") as file:
            if file.read(4) == b"\x7fELF":  # and no locale
                files[PurePosixPath("lib", _patchelf("--print-soname", each) or each.name)] = each
    interpreter = Path(_patchelf("--print-interpreter", program)).resolve()
    return files, next(target for target, source in files.items() if source == interpreter)


def _make(folder: Path, files: _Files, loader: PurePosixPath, named: PurePosixPath) -> None:
    for target, source in files.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
    for target in (PROGRAM, loader):
        (folder / target).chmod(0o755)
    folder.chmod(0o755)
    # RPATH and not RUNPATH: the libraries' own libraries are looked for there too
    _patchelf(
        "--set-interpreter",
        str(named / loader),
        "--force-rpath",
        "--set-rpath",
        str(named / "lib"),
        folder / PROGRAM,
    )
    # A library with a path of its own would not be asked for by that one
    for target in files:
        if ".so" in target.name and _patchelf("--print-rpath", folder / target):
            _patchelf("--remove-rpath", folder / target)
    # So that Python writes none of its own
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    for each in (*folder.rglob("*"), folder):
        sync(each)  # each alone: a node has much else to write


def _patchelf(*arguments: str | Path) -> str:
    return _run("patchelf", *map(str, arguments)).strip()


def _run(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    except FileNotFoundError:
        raise CannotCarry(f"{argv[0]} is not here (Debian, Ubuntu: apt-get install {argv[0]})") from None
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or str(error)
        raise CannotCarry(f"{argv[0]}: {said.strip()}") from error
