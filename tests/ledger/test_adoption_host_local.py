"""host-local's folder: a file is a holding; whatever else lies there is named, and nothing there is followed or waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ledger.adoption import host_local
from ledger.adoption.found import Unsaid
from ledger.errors import InvalidInput
from tests.ledger.adopting import page, wrong

ID = "0c85206ce40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``/var/lib/cni/networks`` as two networks leave it."""
    for network, files in {
        "podnet": {
            "10.88.0.2": f"{ID}\r\neth0",
            "2001:db8::2": f"{ID}\r\neth0",
            "10.88.0.3": "c0ffee\r\nnet1",
        },
        "old": {"10.89.0.7": "cafe"},
    }.items():
        (tmp_path / network).mkdir()
        for name, text in {**files, "lock": "", "last_reserved_ip.0": "10.88.0.3"}.items():
            (tmp_path / network / name).write_text(text, newline="")
    return tmp_path


def test_a_data_folder(folder: Path) -> None:
    reading = host_local.read(folder, Unsaid(node="node1"))
    assert wrong(reading) == []
    assert (
        page(reading)
        == [
            f"10.88.0.2 container {ID} {ID[:12]}/eth0/podnet host-local network podnet on node1",
            "10.88.0.3 container c0ffee c0ffee/net1/podnet host-local network podnet on node1",
            "10.89.0.7 container cafe cafe/eth0/old host-local network old on node1",  # an old version names no interface
            f"2001:db8::2 container {ID} {ID[:12]}/eth0/podnet host-local network podnet on node1",
        ]
    )
    assert {each.node for each in reading.found} == {"node1"}
    assert not any(each.owner.is_pod for each in reading.found)


def test_the_folder_of_one_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.attachment.network for each in host_local.read(folder / "old", Unsaid()).found] == ["old"]
    monkeypatch.chdir(folder / "old")
    assert [each.attachment.network for each in host_local.read(Path(), Unsaid("net1")).found] == ["old"]


def test_an_empty_data_folder(tmp_path: Path) -> None:
    reading = host_local.read(tmp_path, Unsaid())
    assert (reading.found, reading.problems) == ([], [])


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be listed: No such file or directory"):
        host_local.read(tmp_path / "none", Unsaid())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "file: is empty: the address is taken, but nobody knows by whom"),
        (b"\r\n", "file: is empty"),
        (b"a b\r\neth0", "line 1: is no container id"),
        (b"\x00\x00\x00\x00", "line 1: is no container id"),
        (b"\xff\xfe", "line 1: is no container id"),
        (b"c1\r\neth0\r\nmore", "file: has more than a container id and an interface (got 'more')"),
        (b"c1\r\nan-interface-too-long", "line 2: is no interface name"),
        (b"c" * 2000, "file: is larger than 1024 bytes"),
        (b"c" * 300, "line 1: is no container id"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_keeps_the_rest_from_nothing(
    folder: Path, text: bytes, problem: str
) -> None:
    (folder / "old" / "10.89.0.8").write_bytes(text)
    reading = host_local.read(folder, Unsaid())
    [said] = wrong(reading)
    assert said.startswith(f"host-local {folder}/old/10.89.0.8 | {problem}")
    assert len(reading.found) == 4


def test_what_is_no_file_of_host_local(folder: Path) -> None:
    old = folder / "old"
    (old / "notes.txt").write_text("x")
    (old / "10.89.0.9").mkdir()
    (old / "10.89.0.10").symlink_to("/etc/hostname")
    os.mkfifo(old / "10.89.0.11")
    (folder / "a b").mkdir()
    reading = host_local.read(folder, Unsaid())
    assert [each.removeprefix(f"host-local {folder}/").partition(" (got")[0] for each in wrong(reading)] == [
        "a b | network: is no name of a CNI network",
        "old/10.89.0.10 | file: cannot be read: Too many levels of symbolic links",
        "old/10.89.0.11 | file: is no regular file",
        "old/10.89.0.9 | file: is no regular file",
        "old/notes.txt | file name: is not an IP address: Expected 4 octets in 'notes.txt'",
    ]
    assert len(reading.found) == 4


def test_a_file_that_goes_away_was_released(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", gone)
    reading = host_local.read(folder, Unsaid())
    assert (reading.found, reading.problems) == ([], [])


def test_a_folder_that_is_too_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_local, "MAX_FILES", 3)
    assert "folder: holds more than 3 files" in wrong(host_local.read(folder, Unsaid()))[0]
