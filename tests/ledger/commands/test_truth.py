"""``verify`` and ``check``: what they find, and where they look."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.store import Database
from tests.ledger.chronicle import Chronicle
from tests.ledger.cli import Cli


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
