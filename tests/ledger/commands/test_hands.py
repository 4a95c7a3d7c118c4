"""``allocate`` and ``release``: what a person does by hand."""

from __future__ import annotations

import json

import pytest

from tests.ledger.cli import Cli


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
