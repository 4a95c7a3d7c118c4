"""Notes, keys and checkpoints are those of C2SP and of Go's sumdb/note: published vectors, and manglings refused."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import keys
from ledger.checkpoint import Checkpoint, open_checkpoint, peek
from ledger.errors import InvalidInput, LedgerError
from ledger.files import replace_file
from ledger.merkle import EMPTY_ROOT, NotProven
from ledger.note import SignerKey, VerifierKey, open_note, parse_note, sign_note

# Published test vectors of golang.org/x/mod/sumdb/note (note_test.go)
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_SIG = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH_SIG = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# Published by other implementations of C2SP signed-note
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
# The examples of the C2SP pages themselves; their public keys are not published
POEM = """\
Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""
SOFA = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""


@pytest.mark.parametrize("key", [PETER, ENOCH, FOO])
def test_published_verifier_keys_come_back_as_they_were(key: str) -> None:
    assert str(VerifierKey.parse(key)) == key


def test_the_published_signer_key_signs_the_published_note() -> None:
    signer = SignerKey.parse(PETER_SECRET)
    assert signer.encoded() == PETER_SECRET
    assert str(signer.verifier) == PETER
    assert sign_note(TEXT, signer) == TEXT + "\n" + PETER_SIG


@pytest.mark.parametrize("parse", [VerifierKey.parse, SignerKey.parse])
def test_a_mangled_key_is_refused(parse: object) -> None:
    good = PETER if parse == VerifierKey.parse else PETER_SECRET
    cut = {good[i:j] for i in range(len(good)) for j in range(i + 1, len(good) + 1)} - {good}
    changed = {good[:i] + chr(ord(c) + 1) + good[i + 1 :] for i, c in enumerate(good)}
    for bad in cut | changed | {""}:
        with pytest.raises(InvalidInput):
            parse(bad)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "not in canonical form"),
        (str(VerifierKey("PeterNeumann", bytes(33))), "not an Ed25519 key"),  # too long, id to match
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "not an Ed25519 key"),  # unknown algorithm, id to match
        ("PeterNeumann+c74f20a3", "a part is missing"),
        (PETER_SECRET, "give the public one"),
    ],
)  # fmt: skip
def test_a_key_of_another_kind_is_refused(key: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        VerifierKey.parse(key)


@pytest.mark.parametrize("text", ["no newline", "a\x01b\n", "a\ufffdb\n"])
def test_what_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(InvalidInput):
        sign_note(text, SignerKey.parse(PETER_SECRET))


def test_an_error_or_a_repr_never_shows_a_secret() -> None:
    with pytest.raises(InvalidInput) as caught:
        SignerKey.parse(PETER_SECRET + "A")
    assert "AYEKFALVFGyN" not in str(caught.value) + repr(caught.value.facts())
    with pytest.raises(InvalidInput) as caught:
        VerifierKey.parse(PETER_SECRET)
    assert "AYEKFALVFGyN" not in str(caught.value) + repr(caught.value.facts())
    secret = SignerKey.parse(PETER_SECRET)
    assert repr(secret.seed) not in repr(secret)


def test_a_note_opens_by_one_key_or_by_both() -> None:
    peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)
    for known in ([peter], [enoch], [peter, enoch]):
        assert open_note(TEXT + "\n" + PETER_SIG + ENOCH_SIG, known) == TEXT
    assert open_note(FOO_NOTE, [VerifierKey.parse(FOO)]) == "This is an example message.\n"


def test_of_repeated_signatures_the_first_counts() -> None:
    good, bad = PETER_SIG, PETER_SIG[:58] + "ABCD" + PETER_SIG[58:]
    assert open_note(TEXT + "\n" + good * 2 + bad + ENOCH_SIG * 2, [VerifierKey.parse(PETER)]) == TEXT


def test_a_note_without_a_known_signature_proves_nothing_and_says_who_signed() -> None:
    with pytest.raises(NotProven, match=r"EnochRoot\+af0cfe78, PeterNeumann\+c74f20a3"):
        open_note(TEXT + "\n" + PETER_SIG + ENOCH_SIG, [])


def test_a_bad_signature_of_a_known_key_spoils_the_note() -> None:
    peter = VerifierKey.parse(PETER)
    with pytest.raises(NotProven, match=r"PeterNeumann\+c74f20a3 is not valid"):
        open_note(TEXT + "\n" + PETER_SIG[:58] + "ABCD" + PETER_SIG[58:], [peter])
    with pytest.raises(NotProven, match="is not valid"):
        open_note(TEXT.replace("answer", "anxwer") + "\n" + PETER_SIG, [peter])


def test_a_key_given_twice_is_ambiguous_only_when_needed() -> None:
    peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)
    with pytest.raises(InvalidInput, match="ambiguous"):
        open_note(TEXT + "\n" + ENOCH_SIG, [enoch, peter, enoch])
    open_note(TEXT + "\n" + PETER_SIG, [enoch, peter, enoch])


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        TEXT + "\n",
        TEXT + "\n" + PETER_SIG[:-1],
        "\x01" + TEXT + "\n" + PETER_SIG,
        b"\xff" + (TEXT + "\n" + PETER_SIG).encode(),
        TEXT + "\n— Bad Name" + PETER_SIG.removeprefix("— PeterNeumann"),
        TEXT + "\n" + PETER_SIG + "Unexpected line.\n",
        TEXT + "\n" + PETER_SIG * 101,
        "x" * 1_000_001 + "\n\n" + PETER_SIG,
        TEXT + "\n— PeterNeumann\n",
        TEXT + "\n— PeterNeumann AAAA\n",
        "",
        b"",
    ],
)
def test_what_is_no_note_is_malformed(note: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        open_note(note, [VerifierKey.parse(PETER)])


@given(st.text() | st.binary())
def test_no_input_whatever_does_worse_than_a_ledger_error(note: str | bytes) -> None:
    with pytest.raises(LedgerError):
        open_note(note, [VerifierKey.parse(PETER)])


def test_the_examples_of_the_specifications_are_read() -> None:
    text, (signature,) = parse_note(POEM)
    assert text.startswith("Ognuno sta solo") and text.endswith("\n\ned è subito sera.\n")
    assert (signature.name, len(signature.raw)) == ("quasimodo.example/salvatore", 4 + 64)
    assert str(signature) == POEM.splitlines(keepends=True)[-1]
    checkpoint = peek(SOFA)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == SOFA.partition("\n\n")[0] + "\n"


def test_a_checkpoint_is_signed_and_opened() -> None:
    key = SignerKey.generate("example.org/ipam-ledger/1")
    checkpoint = Checkpoint(key.name, 0, EMPTY_ROOT)
    note = checkpoint.sign(key)
    assert open_checkpoint(note, key.verifier) == checkpoint
    for old, new in (
        ("\n0\n", "\n1\n"),
        ("47DE", "57DE"),
        ("example.org/ipam-ledger/1\n0", "example.org/x\n0"),
    ):
        with pytest.raises(NotProven):
            open_checkpoint(note.replace(old, new), key.verifier)


def test_a_key_signs_only_the_log_that_bears_its_name() -> None:
    key = SignerKey.generate("a")
    with pytest.raises(InvalidInput, match="does not belong"):
        Checkpoint("b", 0, EMPTY_ROOT).sign(key)
    with pytest.raises(NotProven, match="of the log b"):
        open_checkpoint(sign_note(Checkpoint("b", 0, EMPTY_ROOT).text(), key), key.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n१\n" + "A" * 43 + "=\n",
        "a\n²\n" + "A" * 43 + "=\n",
        "a\n9223372036854775808\n" + "A" * 43 + "=\n",
        "a\n" + "9" * 5000 + "\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a\n1\n" + "A" * 42 + "B=\n",  # base64 with stray bits
        "a\n1\n" + "A" * 43 + "=\nextension\n",
        "a\n1\n" + "A" * 43 + "=\nextension",
        "a\n1\n" + "A" * 43 + "=",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Checkpoint.parse(text)


def test_key_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new" / "seal.key"
    public = keys.generate(path, "example.org/x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load_signer(path).verifier == public
    for given_as in (str(path), str(path) + ".pub", str(public)):
        assert keys.load_verifier(given_as) == public
    before = path.read_text()
    with pytest.raises(InvalidInput, match="never overwritten"):
        keys.generate(path)
    path.with_name("other.key.pub").write_text("x")
    with pytest.raises(InvalidInput, match="never overwritten"):
        keys.generate(path.with_name("other.key"))
    assert path.read_text() == before and not path.with_name("other.key").exists()


def test_half_a_pair_of_keys_is_not_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    keys.public_path(path).symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"never overwritten \(got .*seal\.key\.pub"):
        keys.generate(path)
    assert [each.name for each in tmp_path.iterdir()] == ["seal.key.pub"]


def test_half_of_a_file_is_not_left_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match=r"No space left on device.*seal\.key"):
        keys.generate(tmp_path / "seal.key")
    with pytest.raises(InvalidInput, match=r"No space left on device.*checkpoint"):
        replace_file(tmp_path / "checkpoint", "x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_is_written_and_a_pipe_stays_one(tmp_path: Path) -> None:
    """The link may lead to another machine's disk, and root's pipe may be /dev/stdout."""
    link, pipe = tmp_path / "checkpoint", tmp_path / "pipe"
    link.symlink_to(tmp_path / "elsewhere")
    for text in ("one", "two"):
        replace_file(link, text)
        assert link.is_symlink() and (tmp_path / "elsewhere").read_text() == text
    (tmp_path / "loop").symlink_to("loop")
    replace_file(tmp_path / "loop", "one")  # it leads nowhere, and is no use to anybody
    assert (tmp_path / "loop").read_text() == "one"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_file(pipe, "three")
    assert pipe.is_fifo() and os.read(reader, 9) == b"three"
    os.close(reader)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    keys.generate(path)
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="others may read it"):
        keys.load_signer(path)


def test_a_verifier_key_is_no_signer_key_and_its_mode_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    keys.generate(path)
    with pytest.raises(InvalidInput, match=r"holds no signer key.*seal\.key\.pub"):
        keys.load_signer(keys.public_path(path))


def test_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"x" * 10_000, b"PRIVATE+KEY+a+b+c"):
        path = tmp_path / "k"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(InvalidInput):
            keys.load_signer(path)
    with pytest.raises(InvalidInput, match="is not there; `ipam-ledger keys generate`"):
        keys.load_verifier(str(tmp_path / "missing"))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\0b", "a\x7fb", "\ud800"])
def test_a_name_that_no_note_can_carry_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        SignerKey.generate(name)


def test_a_key_of_such_a_name_is_none() -> None:
    with pytest.raises(InvalidInput, match="white space"):
        VerifierKey.parse(str(VerifierKey("a b", bytes(32))))
