"""Every command on a small ledger: what it says to people, what programs get in each format, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.store import Database
from tests.ledger.chronicle import Chronicle
from tests.ledger.cli import Cli

POOL: dict[str, Any] = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "p"},
    "spec": {"ipPoolSubs": [{"range": "10.8.0.1-10.8.0.6/29", "gateway": "10.8.0.6"}]},
}
STORY = """
    10:00 p PoolCreated 10.8.0.0/29
    10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 c=c1 node=n1 reason=random
    10:02 p 10.8.0.2 Allocated router
    10:03 p 10.8.0.1 Allocated default/web-0 uid=u2 c=c2 node=n2 reason=reassigned
    10:04 p 10.8.0.3 Allocated other/db-0 uid=u3 c=c3 node=n1
    10:05 p 10.8.0.3 Held
    10:06 p 10.8.0.4 Allocated default/x c=c4
    10:07 p 10.8.0.4 Released until=10:08
"""
DAY = "2024-11-24T"
FORMATS = ("json", "jsonl", "yaml", "csv")
EVENT_KEYS = [
    "seq", "at", "kind", "pool", "ip", "version", "state", "namespace", "pod", "podUID", "containerID", "ifName",
    "network", "node", "until", "reason", "actor",
]  # fmt: skip


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    return Cli(sqlite_url)


@pytest.fixture
def told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.setenv("TZ", "UTC")
    database = Database(cli.url)
    Chronicle(database).write(STORY)
    database.close()
    yield cli


@pytest.fixture(params=["sqlite", "postgresql"])
def any_told(request: pytest.FixtureRequest) -> Cli:
    """The same on either engine, where the two might differ."""
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    database = Database(url)
    Chronicle(database).write(STORY)
    database.close()
    return Cli(url)


def pool_file(tmp_path: Path, name: str = "p", **spec: Any) -> str:
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps({**POOL, "metadata": {"name": name}, "spec": {**POOL["spec"], **spec}}))
    return str(file)


# db ---------------------------------------------------------------------------------------------


def test_db_upgrade_says_what_it_did(empty_db_url: str) -> None:
    cli = Cli(empty_db_url)
    assert "(was empty)" in cli("db", "upgrade").out
    assert "(was there already)" in cli("db", "upgrade").out
    found = cli("db", "upgrade", "-o", "json").json
    assert found["before"] == found["after"] and found["rolesSQL"] == []
    assert cli("pool", "list", "-o", "json").json == []


def test_db_upgrade_prints_the_roles_sql_that_it_may_not_run(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the SQL stands on stdout, so that it can be piped to somebody who may."""
    from ledger import migrate

    monkeypatch.setattr(migrate, "ensure", lambda database: ["CREATE ROLE a", "GRANT b TO a"])
    said = Cli(empty_postgres_url)("db", "upgrade")
    assert said.out == "CREATE ROLE a;\nGRANT b TO a;\n"
    assert "somebody who may runs" in said.err and "schema" in said.err


def test_db_upgrade_prints_the_migrations_and_changes_nothing(empty_sqlite_url: str, tmp_path: Path) -> None:
    said = Cli(empty_sqlite_url)("db", "upgrade", "--sql")
    assert "CREATE TABLE ledger" in said.out and "CREATE TRIGGER ledger_append_only" in said.out
    assert list(tmp_path.iterdir()) == []


def test_db_check_says_where_schema_and_guard_stand(empty_db_url: str) -> None:
    cli = Cli(empty_db_url)
    missing = cli("db", "check", "-o", "json", status=1).json
    assert not missing["ok"] and "yet" in missing["checks"][0]["stands"]
    cli("db", "upgrade")
    said = cli("db", "check", "-o", "json").json
    assert said["ok"]
    names = [row["what"] for row in said["checks"]]
    assert names[:6] == [
        "schema",
        *(f"append-only {t}" for t in ("ledger", "seal", "seal_node", "checkpoint", "fence")),
    ]
    database = Database(cli.url)
    with database.begin() as tx:
        trigger = "ledger_append_only_update" if tx.sqlite else "ledger_append_only ON ledger"
        tx.connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    database.close()
    broken = cli("db", "check", status=1).out
    assert "the ledger can be changed" in broken
    assert [row["ok"] for row in cli("db", "check", "-o", "csv", status=1).csv].count("false") == 1


def test_db_check_says_what_this_user_may(postgres_url: str, writer_url: str) -> None:
    assert "this user has UPDATE, DELETE, TRUNCATE on the ledger" in Cli(postgres_url)("db", "check").out
    assert "this user can neither change nor remove an event" in Cli(writer_url)("db", "check").out


def test_a_schema_of_tomorrow_is_named(cli: Cli) -> None:
    database = Database(cli.url)
    with database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "9999, newer than this program's" in cli("db", "check", status=1).out
    assert "newer than this program's" in cli("pool", "list", status=1).err
    assert "upgrade ipam-ledger instead" in cli("db", "upgrade", status=1).err


# pool -------------------------------------------------------------------------------------------


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


# allocate, release ------------------------------------------------------------------------------


def test_allocate_by_name_is_for_what_is_no_pod(any_told: Cli) -> None:
    said = any_told(
        "allocate",
        "p",
        "--name",
        "lb",
        "--ip",
        "10.8.0.5",
        "--reason",
        "a load balancer",
        env={"LOGNAME": "eve"},
    )
    assert said.out == "10.8.0.5/29 of pool 'p' allocated to lb\n"
    assert (
        any_told("allocate", "p", "--name", "lb", "--reason", "again").out
        == "10.8.0.5/29 of pool 'p' is allocated already to lb\n"
    )
    event = any_told("history", "10.8.0.5", "-o", "json").json[-1]
    assert (event["namespace"], event["pod"], event["containerID"], event["reason"], event["actor"]) == (
        None, "lb", "lb", "a load balancer", "cli/eve",
    )  # fmt: skip


def test_allocate_for_a_pod_that_is_yet_to_come(told: Cli) -> None:
    [row] = told(
        "allocate", "p", "--pod", "default/new", "--reason", "a firewall", "--node", "n9", "-o", "json"
    ).json
    assert (row["pool"], row["prefixLength"], row["gateway"]) == ("p", 29, None)
    assert (row["event"]["pod"], row["event"]["ifName"], row["event"]["node"]) == ("new", "eth0", "n9")
    [again] = told("allocate", "p", "--pod", "default/new", "--reason", "a firewall", "-o", "jsonl").rows
    assert again["ip"] == row["ip"] and again["event"] is None
    [flat] = told("allocate", "p", "--pod", "default/newer", "--reason", "x", "-o", "csv").csv
    assert flat["ip"] in ("10.8.0.4", "10.8.0.5", "10.8.0.6") and flat["event"].isdigit()


def test_allocate_is_refused_with_figures(told: Cli) -> None:
    said = told("allocate", "p", "--name", "a", "--ip", "10.8.0.1", "--reason", "x", "-o", "json", status=1)
    assert json.loads(said.err)["holder"] == "default/web-0"
    assert (
        "is outside pool"
        in told("allocate", "p", "--name", "a", "--ip", "10.9.0.1", "--reason", "x", status=1).err
    )
    assert "there is no pool" in told("allocate", "q", "--name", "a", "--reason", "x", status=1).err
    for name in ("a", "b", "c"):
        told("allocate", "p", "--name", name, "--reason", "x")
    said = told("allocate", "p", "--name", "d", "--reason", "x", "-o", "json", status=1)
    facts = json.loads(said.err)
    assert (facts["capacity"], facts["allocated"], facts["held"]) == (6, 5, 1)


def test_release_by_hand_says_whose_it_was(any_told: Cli) -> None:
    said = any_told("release", "10.8.0.2", "--reason", "taken down").out
    assert said == "10.8.0.2 of pool 'p' released from owner 'router'\n"
    said = any_told("release", "10.8.0.2", "--reason", "again", status=1)
    assert "nobody holds it" in said.err
    [row] = any_told("release", "--pod", "default/web-0", "--reason", "burned", "-o", "json").json
    assert (row["ip"], row["kind"], row["reason"], row["state"]) == ("10.8.0.1", "Released", "burned", "free")
    assert (
        any_told("release", "--pod", "default/web-0", "--reason", "burned", status=1).err
        == "Error: default/web-0 has no address\n"
    )
    assert any_told("release", "10.8.0.3", "--reason", "held no more").out.startswith(
        "10.8.0.3 of pool 'p' released"
    )
    assert "belongs to no pool" in any_told("release", "10.9.0.3", "--reason", "x", status=1).err


def test_a_reason_is_asked_for_on_a_terminal(told: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.cli import params

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    asked = []
    monkeypatch.setattr("sys.stdin", Terminal)
    monkeypatch.setattr("click.prompt", lambda text, **more: asked.append(text) or "because")
    import click

    context = click.Context(click.Command("x"))
    assert params.ask_reason(context, click.Option(["--reason"]), None) == "because"
    assert params.ask_reason(context, click.Option(["--reason"]), " given ") == "given"
    assert asked == ["Reason"]


# Questions --------------------------------------------------------------------------------------


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
    assert "no address" in any_told("diff", "p", "--from", "now", "--to", "now").err


# Truth ------------------------------------------------------------------------------------------


def test_verify(any_told: Cli) -> None:
    said = any_told("verify").out
    assert said.splitlines()[-1] == "8 events, 4 addresses: the ledger holds"
    found = any_told("verify", "-o", "json").json
    assert found["ok"] and found["events"] == 8
    assert {check["name"] for check in found["checks"]} >= {
        "guard",
        "versions",
        "transitions",
        "state",
        "pools",
        "seals",
    }
    database = Database(any_told.url)
    with database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE address SET node = 'elsewhere' WHERE ip = '10.8.0.1'")
    database.close()
    said = any_told("verify", status=1).out
    assert "state        FAILED" in said and "node is 'elsewhere', the ledger says 'n2' (event 4)" in said
    assert said.splitlines()[-1].endswith("does not hold; 1 of 10 checks failed")
    found = any_told("verify", "-o", "json", status=1).json
    assert [check["name"] for check in found["checks"] if not check["ok"]] == ["state"]
    [row] = any_told("verify", "-o", "csv", status=1).csv
    assert (row["check"], row["ip"], row["seq"]) == ("state", "10.8.0.1", "4")


def test_verify_checks_seals_against_the_checkpoint_outside(told: Cli, tmp_path: Path) -> None:
    key, outside = str(tmp_path / "seal.key"), str(tmp_path / "checkpoint")
    told("keys", "generate", "--key", key)
    told("seal", "--key", key, "--checkpoint", outside)
    assert told("verify", "--key", f"{key}.pub", "--checkpoint", outside).out.endswith("the ledger holds\n")
    from tests.ledger.tamper import tamper

    database = Database(told.url)
    tamper(database, "ledger", "UPDATE ledger SET reason = 'forged' WHERE seq = 3")
    database.close()
    said = told("verify", "--key", f"{key}.pub", "--checkpoint", outside, status=1).out
    assert "event 3 (Allocated 10.8.0.2) is not what was sealed" in said


def test_check_finds_what_should_not_be(any_told: Cli, tmp_path: Path) -> None:
    """10.8.0.4 cools no longer since 10:08, and nothing sweeps it; nothing else is wrong."""
    found = any_told("check", "-o", "json", status=1).json
    assert [(f["kind"], f["ip"]) for f in found["findings"]] == [("inconsistent", "10.8.0.4")]
    assert "does a sweep run?" in found["findings"][0]["why"]
    any_told("allocate", "p", "--pod", "default/x", "--reason", "takes it back")
    assert any_told("check").out == "nothing found\n"
    gone = tmp_path / "gone"
    gone.write_text("default/web-0 u1\nother/db-0\nrouter\n")
    found = any_told("check", "--evidence", f"file:{gone}", "-o", "json", status=1).json
    assert [(f["kind"], f["ip"], f["seq"]) for f in found["findings"]] == [("leak candidate", "10.8.0.2", 3)]
    assert found["asked"] == 3, "those that are allocated"
    assert "listed in gone" in any_told("check", "--evidence", f"file:{gone}", status=1).out
    assert any_told("check", "--evidence", f"file:{gone}", "-o", "csv", status=1).csv[0]["ip"] == "10.8.0.2"


@pytest.mark.parametrize("where", ["file:/no/such/list", "command:/no/such/program"])
def test_check_says_once_that_the_evidence_cannot_be_had_and_fails(told: Cli, where: str) -> None:
    told("allocate", "p", "--pod", "default/x", "--reason", "takes it back")
    said = told("check", "--evidence", where, status=1)
    place = where.partition(":")[2]
    assert (said.out, said.err) == (
        f"no evidence: {place}: No such file or directory (of 3 addresses)\n"
        "1 of 1 findings are bad; asked about the owners of 3 addresses\n",
        "",
    )
    assert told("check", "--evidence", where, "-o", "json", status=1).json["ok"] is False
    assert "evidence" in told("check", "--evidence", "", status=2).err
    assert (
        told("check", "--evidence", "never").out == "nothing found; asked about the owners of 3 addresses\n"
    )


def test_check_asks_the_replica_unless_something_outside_is_compared(told: Cli, tmp_path: Path) -> None:
    """A replica may be behind, and what has changed since would be found to differ."""
    url = f"sqlite:///{tmp_path / 'replica.db'}"
    told("db", "upgrade", "--db", url)
    replica = {"IPAM_LEDGER_READ_DB": url}
    assert told("check", env=replica).out == "nothing found\n"
    assert "10.8.0.4" in told("check", "--evidence", "never", status=1, env=replica).out


def test_check_suspects_an_address_whose_pod_was_seen_since_with_another_uid(told: Cli) -> None:
    database = Database(told.url)
    Chronicle(database).write(
        """
        10:10 q PoolCreated 10.9.0.0/29
        10:11 q 10.9.0.1 Allocated default/twin uid=old c=t1
        10:12 r PoolCreated 10.10.0.0/29
        10:13 r 10.10.0.1 Allocated default/twin uid=new c=t2
        10:14 r 10.10.0.1 Released
        """
    )
    database.close()
    found = [
        f for f in told("check", "-o", "json", status=1).json["findings"] if f["kind"] == "leak candidate"
    ]
    [suspect] = found
    assert (suspect["ip"], suspect["owner"]) == ("10.9.0.1", "pod default/twin")
    assert "got 10.10.0.1 of pool 'r' with another UID (new)" in suspect["why"]


def test_check_asks_the_cluster_by_a_hook_found_by_name(told: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.cli import check

    asked: list[Any] = []

    class Found:
        kind, pool, ip, owner, why, bad = (
            "two owners",
            "p",
            "10.8.0.1",
            "default/b",
            "the API server says so",
            True,
        )

    def against(database: Database, specs: Any, kubeconfig: str | None) -> list[Found]:
        asked.append(([spec.name for spec in specs], kubeconfig))
        return [Found()]

    import tests.ledger.cli as module

    monkeypatch.setattr(module, "against", against, raising=False)
    monkeypatch.setattr(check, "CLUSTER", "tests.ledger.cli:against")
    found = told("check", "--against-cluster", "-o", "json", status=1).json["findings"]
    assert [f["kind"] for f in found] == ["inconsistent", "two owners"] and asked == [(["p"], None)]
    monkeypatch.setattr(check, "CLUSTER", "tests.no_such_module:against")
    assert "not part of this installation" in told("check", "--against-cluster", status=1).err


def test_questions_go_to_the_replica_and_writes_do_not(told: Cli, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'replica.db'}"
    replica = {"IPAM_LEDGER_READ_DB": url}
    assert "there is no ledger at" in told("history", status=1, env=replica).err
    told("db", "upgrade", "--db", url)
    assert told("history", "-o", "json", env=replica).json == []
    assert told("pool", "list", "-o", "json", env=replica).json == []
    assert len(told("--db", told.url, "history", "-o", "json", env=replica).json) == 8, (
        "what was written wins"
    )
    told("allocate", "p", "--name", "a", "--reason", "x", env=replica)
    assert len(told("history", "-o", "json").json) == 9
    assert (
        told("verify", env=replica).out.startswith("guard") and "9 events" in told("verify", env=replica).out
    )
