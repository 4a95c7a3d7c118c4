"""Signed notes (C2SP signed-note), Ed25519: text, a blank line, signature lines. Pure but for the signature itself.

Keys are written as golang.org/x/mod/sumdb/note writes them, so that its tools and ours read each other's:

    <name>+<key id, 8 hex digits>+<base64 of 0x01 and the public key>                 the verifier key
    PRIVATE+KEY+<name>+<key id>+<base64 of 0x01 and the seed>                         the signer key
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import InvalidInput
from ledger.merkle import NotProven

_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_DASH = "— "
_MAX_NOTE = 1_000_000  # bytes
_MAX_SIGNATURES = 100


def strict_base64(text: str) -> bytes:
    """Strict: one spelling only. Raises ValueError."""
    raw = b64decode(text)
    if b64encode(raw).decode() != text:
        raise ValueError("not in canonical form")
    return raw


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes that name a key beside its name. Short on purpose: a hint, not a fingerprint."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def check_name(name: str) -> str:
    """A key name is not empty and holds neither white space nor ``+`` (C2SP signed-note, "Format")."""
    if not name or "+" in name or any(c.isspace() or c < " " or c == "\x7f" for c in name):
        raise InvalidInput("name", name, "a key name must not be empty or hold white space or '+'")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInput("name", name, "a key name must be Unicode text") from None
    return name


def _key_parts(text: str, what: str) -> tuple[str, bytes]:
    """``name+id+key`` -> name, key bytes; the id is compared by the caller, who knows the public key."""
    try:
        if text.count("+") < 2:
            raise ValueError("a part is missing")
        name, _, encoded = text.split("+", 2)
        raw = strict_base64(encoded)
    except ValueError as error:
        raise InvalidInput(what, _shown(text), f"not a key of the form name+id+key ({error})") from None
    check_name(name)
    if raw[:1] != _ED25519 or len(raw) != 33:
        raise InvalidInput(what, _shown(text), "not an Ed25519 key")
    return name, raw[1:]


def _shown(key: str) -> str:
    """A key as an error may show it: never a private one."""
    return "PRIVATE+KEY+…" if key.startswith(_PRIVATE) else key[:120]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What anybody may have: says whether a signature is this key's."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """From its one line. Raises InvalidInput."""
        text = text.strip()
        if text.startswith(_PRIVATE):
            raise InvalidInput("verifier key", _shown(text), "this is the private key; give the public one")
        name, public = _key_parts(text, "verifier key")
        key = cls(name, public)
        if str(key) != text:
            raise InvalidInput(
                "verifier key", _shown(text), "the key id does not belong to this name and key"
            )
        return key

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    def holds(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SignerKey:
    """The secret half. Its ``repr`` does not show the seed."""

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SignerKey:
        return cls(check_name(name), Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """From its one line. Raises InvalidInput, which never shows the key."""
        text = text.strip()
        if not text.startswith(_PRIVATE):
            raise InvalidInput("signer key", "…", "a signer key begins with PRIVATE+KEY+")
        try:
            key = cls(*_key_parts(text.removeprefix(_PRIVATE), "signer key"))
        except InvalidInput as error:
            raise InvalidInput("signer key", "…", error.facts()["why"]) from None
        if key.encoded() != text:
            raise InvalidInput("signer key", "…", "the key id does not belong to this name and key")
        return key

    def encoded(self) -> str:
        """The secret line. Not ``__str__``, so that no log line shows it by accident."""
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{b64encode(_ED25519 + self.seed).decode()}"

    @property
    def verifier(self) -> VerifierKey:
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return VerifierKey(self.name, public)

    def sign(self, text: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(text)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: ``name``, and the bytes of key id and signature."""

    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        return self.raw[:4]

    @property
    def label(self) -> str:
        return f"{self.name}+{self.key_id.hex()}"

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.raw).decode()}\n"


def sign_note(text: str, *signers: SignerKey) -> str:
    """The signed note. ``text`` must end in a newline."""
    _check_text(text)
    if not text.endswith("\n"):
        raise InvalidInput("note", text[-40:], "the text must end in a newline")
    lines = [str(Signature(s.name, s.verifier.id + s.sign(text.encode()))) for s in signers]
    return text + "\n" + "".join(lines)


def _check_text(text: str) -> None:
    if any(c < " " and c != "\n" for c in text) or "\ufffd" in text:
        raise InvalidInput("note", text[:40], "a note must not hold control characters")


def parse_note(note: str | bytes) -> tuple[str, list[Signature]]:
    """Text and signature lines, nothing verified yet. Raises InvalidInput for what is no signed note."""
    try:
        raw = note.encode() if isinstance(note, str) else note
        if len(raw) > _MAX_NOTE:
            raise InvalidInput("note", raw[:40], f"longer than {_MAX_NOTE} bytes")
        whole = raw.decode()
    except UnicodeError as error:
        raise InvalidInput("note", note[:40], "not UTF-8") from error
    _check_text(whole)
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise InvalidInput("note", whole[-40:], "no signature lines: the note is cut or is none")
    signatures: list[Signature] = []
    for line in tail[:-1].split("\n"):
        if len(signatures) == _MAX_SIGNATURES:
            raise InvalidInput("note", line[:40], f"more than {_MAX_SIGNATURES} signatures")
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            signature = strict_base64(encoded)
        except ValueError:
            signature = b""
        if not line.startswith(_DASH) or len(signature) < 5:
            raise InvalidInput("note", line, "not a signature line")
        signatures.append(Signature(check_name(name), signature))
    return text + "\n", signatures


def open_note(note: str | bytes, keys: Sequence[VerifierKey]) -> str:
    """The text, once a known key vouches for it.

    Unknown keys' signatures are set aside. A bad signature of a known key, or no good one at all, raises
    NotProven. A key given twice is ambiguous and raises InvalidInput when it is needed.
    """
    text, signatures = parse_note(note)
    verified: set[tuple[str, bytes]] = set()
    for signature in signatures:
        signer = signature.name, signature.key_id
        known = [k for k in keys if (k.name, k.id) == signer]
        if len(known) > 1:
            raise InvalidInput("keys", signature.label, "ambiguous: this key is given more than once")
        if known and signer not in verified:
            if not known[0].holds(text.encode(), signature.raw[4:]):
                raise NotProven(
                    f"the signature of {signature.label} is not valid: the note or the signature was changed"
                )
            verified.add(signer)
    if not verified:
        by = ", ".join(sorted({each.label for each in signatures}))
        raise NotProven(f"no signature of a key that is known here (it is signed by {by})")
    return text
