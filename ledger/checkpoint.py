"""Checkpoints (C2SP tlog-checkpoint): a tree head in a signed note. Pure.

::

    <origin>                 the log's name, and the name of the key that signs it
    <tree size>
    <base64 root hash>

    — <origin> <signature>

An origin names one ledger for good: ``keys generate --name``, by default ``<host name>/ipam-ledger/<8 hex digits>``
(the shape of a URL without its scheme, as the spec recommends). A copy that goes its own way (a ledger restored to
an earlier day) needs a new name, since one name must never sign two histories.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from ledger.errors import InvalidInput, LedgerCorrupt
from ledger.merkle import HASH, NotProven
from ledger.note import SignerKey, VerifierKey, open_note, parse_note, sign_note, strict_base64

_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``size`` entries of the log ``origin`` have the Merkle root ``root``."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """From a note's text; nothing is verified. Extension lines are refused: we sign none, and nobody audits them."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise InvalidInput("checkpoint", text[:120], "must be three lines: origin, size, root hash")
        origin, size, root = lines[:3]
        if not (size.isascii() and size.isdigit()) or size != str(int(size[:20])) or int(size) > _MAX_SIZE:
            raise InvalidInput("checkpoint", size[:40], "the tree size must be a decimal number")
        try:
            raw = strict_base64(root)
        except ValueError as error:
            raise InvalidInput("checkpoint", root[:60], f"the root hash is not base64 ({error})") from None
        if len(raw) != HASH:
            raise InvalidInput("checkpoint", root, f"the root hash must have {HASH} bytes")
        return cls(origin, int(size), raw)

    def sign(self, key: SignerKey) -> str:
        """The signed note. The key's name must be the origin: a key signs its own log only."""
        if key.name != self.origin:
            raise InvalidInput("key", key.name, f"this key does not belong to the log {self.origin}")
        return sign_note(self.text(), key)


def open_checkpoint(note: str | bytes, *keys: VerifierKey) -> Checkpoint:
    """The tree head that ``keys`` signed: one, or several of one name. Raises InvalidInput (malformed) or NotProven (not by
    these keys, or changed)."""
    checkpoint = Checkpoint.parse(open_note(note, keys))
    for key in keys:
        if checkpoint.origin != key.name:
            raise NotProven(f"the checkpoint is of the log {checkpoint.origin}, but the key is {key.name}'s")
    return checkpoint


def peek(note: str | bytes) -> Checkpoint:
    """The tree head that a note claims, unverified: for finding things, never for trusting them."""
    return Checkpoint.parse(parse_note(note)[0])


def claimed(note: str, size: int) -> Checkpoint:
    """What a stored note claims, of which its row says ``size``. Raises LedgerCorrupt where the two disagree."""
    try:
        found = peek(note)
    except InvalidInput as error:
        raise LedgerCorrupt(f"the note of the checkpoint of {size:,} entries is damaged: {error}") from error
    if found.size != size:
        raise LedgerCorrupt(
            f"the row of a checkpoint says {size:,} entries, its note {found.size:,}; run `ipam-ledger verify`"
        )
    return found
