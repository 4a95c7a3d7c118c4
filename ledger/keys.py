"""Key files: one line each, the signer key readable by its owner alone. Never overwritten.

``PATH`` holds the signer key (mode 0600), ``PATH.pub`` the verifier key that one may give to anybody.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from ledger.errors import InvalidInput
from ledger.note import SignerKey, VerifierKey
from ledger.settings import state_folder

_MAX_KEY_FILE = 4096  # bytes; a key is about 100


def default_name() -> str:
    """A name that no other log has: the host's, and 32 random bits."""
    host = "".join(c for c in socket.getfqdn() if c.isalnum() or c in ".-") or "localhost"
    return f"{host}/ipam-ledger/{secrets.token_hex(4)}"


def public_path(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def generate(path: Path, name: str | None = None) -> VerifierKey:
    """Make a key pair. Raises InvalidInput if either file is there already: a lost key cannot be had again."""
    key = SignerKey.generate(name or default_name())
    for there in (path, public_path(path)):
        if there.exists():
            raise InvalidInput("key file", str(there), "is there already and is never overwritten")
    _write(path, key.encoded(), 0o600)
    try:
        _write(public_path(path), str(key.verifier), 0o644)
    except BaseException:
        path.unlink()  # nobody has the key yet, and half of a pair would be in the way of the next one
        raise
    return key.verifier


def _write(path: Path, line: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL, not the check above, is what keeps two of these from overwriting each other
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise InvalidInput("key file", str(path), "is there already and is never overwritten") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(line + "\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        path.unlink()  # half of a key would be in the way of the next one
        raise InvalidInput("key file", str(path), f"cannot be written: {error}") from error


def _read(path: Path) -> str:
    try:
        with path.open("rb") as source:
            raw = source.read(_MAX_KEY_FILE + 1)
        return raw.decode() if len(raw) <= _MAX_KEY_FILE else ""
    except FileNotFoundError:
        raise InvalidInput(
            "key file", str(path), "is not there; `ipam-ledger keys generate` makes a key pair"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("key file", str(path), f"cannot be read: {error}") from error


def load_signer(path: Path) -> SignerKey:
    """The secret key. Refuses a file that others may read: whoever reads it can sign another history.

    A Secret that is mounted for a pod that is not root belongs to root and is read by the pod's own group (its fsGroup); so
    the group may read what belongs to root, unless we are root and need no group.
    """
    text = _read(path)
    if not text.lstrip().startswith("PRIVATE+KEY+"):  # before its mode: a verifier key may be read by anybody
        raise InvalidInput("key file", str(path), "holds no signer key, which begins with PRIVATE+KEY+")
    about = path.stat()
    mounted = about.st_uid == 0 and os.geteuid() != 0
    if about.st_mode & (0o037 if mounted else 0o077):
        raise InvalidInput(
            "key file", str(path), "others may read it; `chmod 600` it, and ask whether they did"
        )
    return SignerKey.parse(text)


def load_verifier(path_or_key: str) -> VerifierKey:
    """The public key from a file, or from the key's own line."""
    if "+" in path_or_key and not Path(path_or_key).exists():
        return VerifierKey.parse(path_or_key)
    text = _read(Path(path_or_key))
    return SignerKey.parse(text).verifier if text.startswith("PRIVATE+KEY+") else VerifierKey.parse(text)


def default_key() -> Path:
    """``seal.key`` where this user's state lives."""
    return state_folder() / "seal.key"


def default_checkpoint() -> Path:
    """``checkpoint`` beside it. Better is a disk of another machine."""
    return state_folder() / "checkpoint"
