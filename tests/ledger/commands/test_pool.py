"""``pool``: apply, list, show, delete."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ledger.cli import Cli
from tests.ledger.commands.story import DAY, POOL, pool_file


def test_pool_apply_speaks_as_kubectl_does(cli: Cli, tmp_path: Path) -> None:
    file = pool_file(tmp_path)
    assert cli("pool", "apply", "-f", file).out == "ippool.ipam.k8s.io/p created\n"
    assert cli("pool", "apply", "-f", file).out == "ippool.ipam.k8s.io/p unchanged\n"
    pool_file(tmp_path, cooldownSeconds=5)
    assert cli("pool", "apply", "-f", file, "--dry-run").out == "ippool.ipam.k8s.io/p configured (dry run)\n"
    assert cli("pool", "show", "p", "-o", "json").json["cooldownSeconds"] == 0, "a dry run changes nothing"
    assert cli("pool", "apply", "-f", file, "--reason", "longer").out == "ippool.ipam.k8s.io/p configured\n"
    kinds = [(row["kind"], row["reason"]) for row in cli("history", "-o", "jsonl").rows]
    assert kinds == [("PoolCreated", None), ("PoolUpdated", "longer")]


def test_pool_apply_takes_several_documents_and_stdin(cli: Cli, tmp_path: Path) -> None:
    two = "\n---\n".join(
        f"apiVersion: ipam.k8s.io/v1alpha1\nkind: IPPool\nmetadata: {{name: {name}}}\n"
        f"spec: {{ipPoolSubs: [{{range: {cidr}}}]}}" for name, cidr in (("a", "10.1.0.0/29"), ("b", "10.2.0.0/29"))
    )  # fmt: skip
    said = cli("pool", "apply", "-f", "-", "-f", pool_file(tmp_path), stdin=two)
    assert said.out.split() == [w for n in "abp" for w in (f"ippool.ipam.k8s.io/{n}", "created")]
    rows = cli("pool", "apply", "-f", "-", "-o", "json", stdin=two).json
    assert [(row["name"], row["action"], row["event"]) for row in rows] == [
        ("a", "unchanged", None),
        ("b", "unchanged", None),
    ]


def test_pool_apply_reads_everything_before_it_writes_anything(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({**POOL, "spec": {"ipPoolSubs": [{"range": "10.9.0.9-10.9.0.1/24"}]}}))
    said = cli("pool", "apply", "-f", pool_file(tmp_path, "good"), "-f", str(bad), status=1)
    assert (
        said.err.startswith(f"Error: {bad}: spec.ipPoolSubs[0].range: the first address") and said.out == ""
    )
    assert cli("pool", "list", "-o", "json").json == []
    said = cli("pool", "apply", "-f", pool_file(tmp_path), "-f", pool_file(tmp_path), status=1)
    assert "comes twice" in said.err
    assert "invalid" not in cli("pool", "apply", "-f", "-", status=1, stdin="no: pool").out
    bad.write_text(json.dumps({**POOL, "spec": {"ipPoolSubs": [{}]}}))
    said = cli("pool", "apply", "-f", str(bad), status=1)
    assert said.err == "Error: spec.ipPoolSubs[0].range: is missing\n", (
        "one file needs no name, nor nothing a value"
    )
    said = cli("pool", "apply", "-f", str(bad), "-f", pool_file(tmp_path), "-o", "json", status=1)
    assert json.loads(said.err)["field"] == f"{bad}: spec.ipPoolSubs[0].range"
    bad.write_text("{")
    said = cli("pool", "apply", "-f", pool_file(tmp_path), "-f", str(bad), status=1)
    assert said.err.count(str(bad)) == 1


def test_pool_apply_goes_on_after_a_pool_that_is_refused(cli: Cli, tmp_path: Path) -> None:
    clash = pool_file(tmp_path, "clash")
    cli("pool", "apply", "-f", pool_file(tmp_path))
    third = pool_file(tmp_path, "third", ipPoolSubs=[{"range": "10.9.0.0/29"}])
    said = cli("pool", "apply", "-f", clash, "-f", third, status=1)
    assert "pool 'clash' overlaps pool 'p' in address space 'default'" in said.err
    assert said.out == "ippool.ipam.k8s.io/third created\n"
    rows = cli("pool", "apply", "-f", clash, "-f", third, "-o", "json", status=1).json
    assert [row["action"] for row in rows] == ["refused", "unchanged"] and rows[0]["facts"]["other"] == "p"
    assert "overlaps" in cli("pool", "apply", "-f", clash, "--dry-run", status=1).err


def test_pool_apply_warns_of_fields_it_does_not_know(cli: Cli, tmp_path: Path) -> None:
    said = cli("pool", "apply", "-f", pool_file(tmp_path, colour="green"))
    assert "unknown field 'colour'" in said.err and said.out.endswith("created\n")


def test_a_map_fits_on_a_narrow_terminal(cli: Cli, tmp_path: Path) -> None:
    cli("pool", "apply", "-f", pool_file(tmp_path, ipPoolSubs=[{"range": "10.8.0.0/24"}]))
    for columns, cells in (("100", 64), ("79", 64), ("60", 32), ("40", 16)):
        lines = cli("pool", "show", "p", "--map", env={"COLUMNS": columns}).out.splitlines()
        [first] = (line for line in lines if line.startswith("10.8.0.0  "))
        assert len(first.split()[1]) == cells and len(first) <= int(columns)


def test_a_pool_that_is_hardly_used_is_not_shown_as_unused(cli: Cli, tmp_path: Path) -> None:
    file = pool_file(tmp_path, ipPoolSubs=[{"range": "fd00::/64"}])
    cli("pool", "apply", "-f", file)
    assert cli("pool", "list").out.split()[-2:] == ["0.0", "default"]
    cli("allocate", "p", "--name", "a", "--reason", "x")
    assert cli("pool", "list").out.split()[-2:] == ["<0.1", "default"]
    assert cli("pool", "list", "-o", "yaml").yaml[0]["utilization"] == 1 / (2**64 - 1)


def test_pool_list_has_the_same_figures_in_every_format(told: Cli) -> None:
    text = told("pool", "list").out.splitlines()
    assert text[0].split() == ["NAME", "CAPACITY", "ALLOCATED", "FREE", "HELD", "COOLING", "USED%", "SPACE"]
    assert text[1].split() == ["p", "6", "2", "2", "1", "1", "66.7", "default"]
    [row] = told("pool", "list", "-o", "json").json
    assert {key: row[key] for key in ("name", "capacity", "allocated", "free", "held", "cooling", "utilization")} == {
        "name": "p", "capacity": 6, "allocated": 2, "free": 2, "held": 1, "cooling": 1, "utilization": 4 / 6,
    }  # fmt: skip
    assert told("pool", "list", "-o", "jsonl").rows == told("pool", "list", "-o", "yaml").yaml == [row]
    [flat] = told("pool", "list", "-o", "csv").csv
    assert (flat["name"], flat["free"], json.loads(flat["subs"])) == ("p", "2", row["subs"])


def test_pool_list_without_pools(cli: Cli) -> None:
    said = cli("pool", "list")
    assert said.out == "" and "pool apply" in said.err
    assert cli("pool", "list", "-o", "csv").out.startswith("name,capacity,")


def test_pool_show(told: Cli) -> None:
    said = told("pool", "show", "p").out
    for words in (
        "capacity   6",
        "allocated  2",
        "held       1",
        "cooling    1",
        "free       2",
        "used       66.7 %",
        "10.8.0.0/29",
    ):
        assert words in said
    row = told("pool", "show", "p", "-o", "json").json
    assert {
        "name",
        "capacity",
        "allocated",
        "free",
        "held",
        "cooling",
        "utilization",
        "subs",
        "history",
    } <= set(row)
    assert row["subs"][0]["capacity"] == 6
    other = told("pool", "show", "p", "-o", "yaml").yaml
    assert {**other, "history": None} == {**row, "history": None}
    assert row["history"]["used"] == other["history"]["used"] == [4] * 60, (
        "nothing happened in the last 30 days"
    )
    assert told("pool", "show", "p", "-o", "csv").csv[0]["name"] == "p"
    assert "there is no pool 'q'" in told("pool", "show", "q", status=1).err


def test_pool_show_draws_a_map_on_a_terminal_or_when_asked(told: Cli) -> None:
    assert "10.8.0.0  ·██▓▒░░·" in told("pool", "show", "p", "--map").out
    assert "░" not in told("pool", "show", "p").out


def test_pool_delete(told: Cli) -> None:
    said = told("pool", "delete", "p", status=1)
    assert "10.8.0.1 and 2 more: in use by default/web-0" in said.err
    for owner in (("--pod", "default/web-0"), ("--name", "router"), ("10.8.0.3",)):
        told("release", *owner, "--reason", "the rack is gone")
    assert told("pool", "delete", "p", "--reason", "gone").out == 'ippool.ipam.k8s.io "p" deleted\n'
    assert "there is no pool" in told("pool", "delete", "p", status=1).err
    assert told("who-had", "10.8.0.1", "--at", f"{DAY}10:01:00Z", "-o", "json").json["pod"] == "web-0", (
        "its history stays"
    )
