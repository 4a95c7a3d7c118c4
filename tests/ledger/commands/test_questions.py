"""The questions: what is said to people, what programs get in each format, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.ledger.cli import Cli
from tests.ledger.commands.story import DAY, EVENT_KEYS, pool_file


def test_who_had_in_every_format(any_told: Cli) -> None:
    at = f"{DAY}11:02:59.999999+01:00"
    holding = any_told("who-had", "10.8.0.1", "--at", at, "-o", "json").json
    assert holding == {
        "seq": 2, "from": f"{DAY}10:01:00.000000Z", "until": f"{DAY}10:03:00.000000Z", "kind": "Allocated", "pool": "p",
        "ip": "10.8.0.1", "version": 1, "state": "allocated", "namespace": "default", "pod": "web-0", "podUID": "u1",
        "containerID": "c1", "ifName": "eth0", "network": "podnet", "node": "n1", "reason": "random", "actor": "chronicler",
    }  # fmt: skip
    assert any_told("who-had", "10.8.0.1", "--at", at, "-o", "jsonl").rows == [holding]
    assert any_told("who-had", "10.8.0.1", "--at", at, "-o", "yaml").yaml == holding
    [flat] = any_told("who-had", "10.8.0.1", "--at", at, "-o", "csv").csv
    assert {key: flat[key] for key in holding} == {key: str(value) for key, value in holding.items()}
    assert any_told("who-had", "10.8.0.1", "--at", f"{DAY}10:03:00Z", "-o", "json").json["podUID"] == "u2"
    assert any_told("who-had", "10.8.0.1", "-o", "json").json["until"] is None


def test_who_had_for_people(told: Cli) -> None:
    said = told("who-had", "10.8.0.1", "--at", f"{DAY}10:01:00Z").out.splitlines()
    assert said[0] == f"pod default/web-0 had 10.8.0.1 of pool 'p' from {DAY}10:01:00Z until {DAY}10:03:00Z"
    assert "  uid        u1" in said and "  node       n1" in said
    assert told("who-had", "10.8.0.1").out.startswith(
        f"pod default/web-0 has 10.8.0.1 of pool 'p' since {DAY}10:03:00Z\n"
    )


def test_nobody_is_an_answer(told: Cli) -> None:
    assert told("who-had", "10.8.0.5").out == "nobody has 10.8.0.5\n"
    assert told("who-had", "10.8.0.5", "--at", f"{DAY}10:00:00Z").out == "nobody had 10.8.0.5\n"
    held = told("who-had", "10.8.0.3").out.splitlines()
    assert held == [
        "nobody has 10.8.0.3",
        f"  in pool 'p' it is held for pod other/db-0 since {DAY}10:05:00Z",
    ]
    cooling = told("who-had", "10.8.0.4", "--at", f"{DAY}10:07:00Z").out.splitlines()
    assert (
        cooling[1]
        == f"  in pool 'p' it was cooling, kept for pod default/x since {DAY}10:07:00Z until {DAY}10:08:00Z"
    )
    assert told("who-had", "10.8.0.5", "-o", "json").out == "null\n"
    assert told("who-had", "10.8.0.5", "-o", "jsonl").out == ""
    assert told("who-had", "10.8.0.5", "-o", "csv").out.startswith("pool,ip,from,until,")
    assert told("who-had", "10.8.0.5", "--pool", "q", status=1).err.startswith("Error: there is no pool 'q'")


def test_two_address_spaces_make_a_list(told: Cli, tmp_path: Path) -> None:
    told("pool", "apply", "-f", pool_file(tmp_path, "blue", addressSpace="blue"))
    told("allocate", "blue", "--name", "b", "--ip", "10.8.0.1", "--reason", "x")
    found = told("who-had", "10.8.0.1", "-o", "json").json
    assert [each["pool"] for each in found] == ["blue", "p"]
    assert told("who-had", "10.8.0.1", "--pool", "p", "-o", "json").json["pool"] == "p"
    assert len(told("who-had", "10.8.0.1").out.split(" has ")) == 3


FITS: list[tuple[tuple[str, ...], list[int]]] = [
    ((), [1, 2, 3, 4, 5, 6, 7, 8]),
    (("10.8.0.1",), [2, 4]),
    (("10.8.0.5",), []),
    (("--pod", "default/web-0"), [2, 4]),
    (("--pod", "default/nobody"), []),
    (("--namespace", "default"), [2, 4, 7, 8]),
    (("--node", "n1"), [2, 5, 6]),
    (("--pool", "p", "--limit", "2"), [7, 8]),
    (("10.8.0.1", "--limit", "1"), [4]),
    (("--namespace", "default", "--limit", "2"), [7, 8]),
    (("--since", f"{DAY}10:03:00Z", "--until", f"{DAY}10:05:00Z"), [4, 5]),
    (("--since", f"{DAY}10:03:00.000001Z", "--until", f"{DAY}10:05:00.000001Z"), [5, 6]),
    (("10.8.0.1", "--until", f"{DAY}10:03:00Z"), [2]),
]


def test_history_finds_what_fits(any_told: Cli) -> None:
    for args, seqs in FITS:
        assert [row["seq"] for row in any_told("history", *args, "-o", "jsonl").rows] == seqs, args


def test_history_in_every_format(told: Cli) -> None:
    rows = told("history", "-o", "json").json
    assert list(rows[1]) == EVENT_KEYS and rows[0]["spec"] == {"ipPoolSubs": [{"range": "10.8.0.0/29"}]}
    assert told("history", "-o", "jsonl").rows == told("history", "-o", "yaml").yaml == rows
    flat = told("history", "-o", "csv").csv
    assert list(flat[0]) == [*EVENT_KEYS, "spec"] and [row["seq"] for row in flat] == [
        str(row["seq"]) for row in rows
    ]
    text = told("history", "10.8.0.1").out.splitlines()
    assert text[0].split() == ["SEQ", "TIME", "KIND", "POOL", "ADDRESS", "OWNER", "NODE", "REASON", "ACTOR"]
    assert text[1].split() == [
        "2",
        f"{DAY}10:01:00Z",
        "Allocated",
        "p",
        "10.8.0.1",
        "default/web-0",
        "n1",
        "random",
        "chronicler",
    ]


def test_history_of_the_unknown(told: Cli) -> None:
    assert "belongs to no pool" in told("history", "10.9.0.1", status=1).err
    assert "there is no pool" in told("history", "--pool", "q", status=1).err
    assert told("history", "--pod", "a/b").err == "no event fits\n"


def test_explain(told: Cli) -> None:
    said = told("explain", "10.8.0.1").out
    assert said.startswith(
        "10.8.0.1 of pool 'p' is allocated to pod default/web-0 on node n2 (uid u2, container c2"
    )
    found = told("explain", "10.8.0.1", "-o", "json").json
    assert (
        found["ip"] == "10.8.0.1"
        and found["pools"][0]["event"]["seq"] == 4
        and len(found["pools"][0]["sentences"]) == 3
    )
    assert told("explain", "10.8.0.1", "-o", "csv").csv[0]["pool"] == "p"
    assert told("explain", "10.9.0.1", status=1).out == ""


def test_tail(any_told: Cli) -> None:
    assert [row["seq"] for row in any_told("tail", "-n", "3", "-o", "jsonl").rows] == [6, 7, 8]
    assert len(any_told("tail", "-o", "json").json) == 8
    assert any_told("tail", "-n", "0").out == ""
    assert any_told("tail", "-n", "1").out.splitlines()[1].split()[:3][2] == "Released"


def test_tail_follows(any_told: Cli) -> None:
    following = subprocess.Popen(
        [sys.executable, "-m", "ledger.cli", "tail", "-f", "-n", "2", "-o", "jsonl"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "IPAM_LEDGER_DB": any_told.url},
    )  # fmt: skip
    try:
        assert following.stdout is not None
        assert [json.loads(following.stdout.readline())["seq"] for _ in range(2)] == [7, 8]
        for name in ("one", "two"):
            any_told("allocate", "p", "--name", name, "--reason", "x")
            assert json.loads(following.stdout.readline())["pod"] == name
    finally:
        following.kill()
        following.communicate()


def test_pool_at(any_told: Cli) -> None:
    found = any_told("pool-at", "p", "--at", f"{DAY}10:05:00Z", "-o", "json").json
    assert (found["capacity"], found["allocated"], found["held"], found["cooling"], found["free"]) == (
        6,
        2,
        1,
        0,
        3,
    )
    assert [(e["ip"], e["state"]) for e in found["addresses"]] == [
        ("10.8.0.1", "allocated"), ("10.8.0.2", "allocated"), ("10.8.0.3", "held"),
    ]  # fmt: skip
    assert any_told("pool-at", "p", "--at", f"{DAY}10:05:00Z", "-o", "jsonl").rows == found["addresses"]
    assert any_told("pool-at", "p", "--at", f"{DAY}10:05:00Z", "-o", "yaml").yaml == found
    assert any_told("pool-at", "p", "--at", f"{DAY}10:05:00Z", "-o", "csv").csv[0]["ip"] == "10.8.0.1"
    text = any_told("pool-at", "p", "--at", f"{DAY}10:05:00Z").out.splitlines()
    assert text[0].endswith("capacity 6, allocated 2, held 1, cooling 0, free 3") and len(text) == 5
    assert "created later" in any_told("pool-at", "p", "--at", f"{DAY}09:00:00Z", status=1).err
    assert "there is no pool" in any_told("pool-at", "q", "--at", "now", status=1).err


def test_diff(any_told: Cli) -> None:
    span = ("--from", f"{DAY}10:02:00Z", "--to", f"{DAY}10:05:00Z")
    found = any_told("diff", "p", *span, "-o", "json").json
    assert [(c["ip"], c["change"], c["events"]) for c in found["changes"]] == [
        ("10.8.0.1", "relaunched", 1),
        ("10.8.0.3", "held", 2),
    ]
    assert found["spec"] is None and found["back"] == 0
    assert found["changes"][1]["before"] is None and found["changes"][0]["before"]["podUID"] == "u1"
    assert any_told("diff", "p", *span, "-o", "jsonl").rows == found["changes"]
    flat = any_told("diff", "p", *span, "-o", "csv").csv
    assert [(row["ip"], row["beforePodUID"], row["afterPodUID"]) for row in flat] == [
        ("10.8.0.1", "u1", "u2"),
        ("10.8.0.3", "", "u3"),
    ]
    text = any_told("diff", "p", *span).out.splitlines()
    assert (
        text[2].split(maxsplit=2) == ["10.8.0.3", "held", "free     held, other/db-0        2"]
        or "held, other/db-0" in text[2]
    )
    created = any_told("diff", "p", "--from", f"{DAY}09:00:00Z", "--to", f"{DAY}10:01:00Z")
    assert created.out.startswith("pool 'p' was created")
    assert any_told("diff", "p", "--from", f"{DAY}08:00:00Z", "--to", f"{DAY}09:00:00Z", status=1).out == ""
    assert "every address" in any_told("diff", "p", "--from", "now", "--to", "now").err
