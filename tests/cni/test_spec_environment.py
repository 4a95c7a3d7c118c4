"""What the environment must hold for each verb, and what it may not."""

from __future__ import annotations

import json

import pytest

from cni import client, spec
from cni.spec import Call, Pod, Refusal, Verb
from tests.servers.agent import cni_env

CONF = {
    "cniVersion": "1.1.0",
    "name": "podnet",
    "type": "bridge",
    "ipam": {"type": "k8s-ipam", "ipPoolName": "ippool"},
    "prevResult": {"ips": [{"address": "10.0.0.1/24"}]},
    "cni.dev/valid-attachments": [],
}


def read(verb: str, **env: str) -> Call:
    return Call.from_raw(cni_env(verb, **env), json.dumps(CONF).encode())


def refused(verb: str, **env: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(verb, **env)
    return caught.value


@pytest.mark.parametrize("verb", list(Verb))
def test_a_full_environment_is_taken(verb: Verb) -> None:
    call = read(verb)
    assert call.verb is verb
    attached = verb in ("ADD", "DEL", "CHECK")
    assert call.container_id == ("sandbox1" if attached else "")


@pytest.mark.parametrize(
    ("verb", "needs"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
    ],
)
def test_all_that_is_missing_is_named_at_once(verb: str, needs: str) -> None:
    names = needs.split(",")
    error = refused(verb, **dict.fromkeys(names, ""))
    assert (error.code, error.msg) == (4, f"required env variables [{needs}] missing")
    for name in names:
        error = refused(verb, **{name: ""})
        assert (error.code, error.msg) == (4, f"required env variables [{name}] missing")


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_gc_and_status_come_without_a_container(verb: str) -> None:
    empty = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}
    call = read(verb, **empty)
    assert (call.container_id, call.if_name) == ("", "")


def test_the_client_knows_the_same_table() -> None:
    assert {verb.value: needs for verb, needs in spec.NEEDS.items()} == client.NEEDS
    assert client.VERSIONS == spec.VERSIONS
    assert client.MAX_STDIN == spec.MAX_STDIN


@pytest.mark.parametrize("command", ["", "add", "ADD2", "UPDATE", "ADD\n", "\udcff"])
def test_an_unknown_command_is_an_error_of_the_environment(command: str) -> None:
    env = {**cni_env("ADD"), "CNI_COMMAND": command}
    with pytest.raises(Refusal) as caught:
        Call.from_raw(env, b"{}")
    assert caught.value.code == 4
    assert "CNI_COMMAND" in caught.value.msg


@pytest.mark.parametrize("good", ["a", "0", "A.b-c_D9", "e" * 253])
def test_container_ids_of_the_specification(good: str) -> None:
    assert read("ADD", container=good).container_id == good


@pytest.mark.parametrize("bad", ["-a", ".a", "_a", "a/b", "a b", "a\n", "ä", "a" * 254, "a\udcff", "a:b"])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_other_container_ids_are_refused(verb: str, bad: str) -> None:
    error = refused(verb, CNI_CONTAINERID=bad)
    assert (error.code, error.msg.split(":")[0]) == (4, "CNI_CONTAINERID")


@pytest.mark.parametrize("good", ["eth0", "net1", "a", "e" * 15, "wlp3s0@x", "eth0.100"])
def test_interface_names_that_linux_takes(good: str) -> None:
    assert read("ADD", CNI_IFNAME=good).if_name == good


@pytest.mark.parametrize("bad", [".", "..", "a/b", "a:b", "a b", "a\t", "e" * 16, "a\0b", "\udcff"])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_other_interface_names_are_refused(verb: str, bad: str) -> None:
    error = refused(verb, CNI_IFNAME=bad)
    assert (error.code, error.msg.split(":")[0]) == (4, "CNI_IFNAME")


def test_the_arguments_of_kubernetes_come_in_any_order_among_others() -> None:
    wanted = Pod("shop", "web-0", "8d2e")
    pairs = ["K8S_POD_NAME=web-0", "IgnoreUnknown=1", "K8S_POD_UID=8d2e", "MAC=02:00:00:00:00:01",
             "K8S_POD_NAMESPACE=shop", "K8S_POD_INFRA_CONTAINER_ID=abc123", "X=a=b"]  # fmt: skip
    for turn in range(len(pairs)):
        args = ";".join(pairs[turn:] + pairs[:turn])
        assert read("ADD", CNI_ARGS=args).pod == wanted


@pytest.mark.parametrize("args", ["", ";", ";;IgnoreUnknown=1;"])
def test_no_arguments_are_no_pod(args: str) -> None:
    assert read("ADD", pod=None, CNI_ARGS=args).pod == Pod()


def test_podman_gives_only_a_name() -> None:
    assert read("ADD", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web").pod == Pod(name="web")


@pytest.mark.parametrize(
    ("ip", "asked"),
    [
        ("10.0.0.9", ("10.0.0.9",)),
        ("10.0.0.9/24", ("10.0.0.9",)),
        ("10.0.0.9,fd00:0::9", ("10.0.0.9", "fd00::9")),
        ("10.0.0.9,10.0.0.9/16", ("10.0.0.9",)),
        ("", ()),
    ],
)
def test_an_address_may_be_asked_for(ip: str, asked: tuple[str, ...]) -> None:
    assert read("ADD", CNI_ARGS=f"IP={ip}").pod.asked == asked


@pytest.mark.parametrize(
    "args",
    [
        "nonsense",
        "=x",
        "IP=10.0.0",
        "IP=10.0.0.1/99",
        "IP=10.0.0.1/",
        "IP=fe80::1%eth0",
        "K8S_POD_NAMESPACE=a/b",
        "K8S_POD_NAME=a\nb",
        "K8S_POD_NAME=\udcff",
        "K8S_POD_NAME=" + "a" * 254,
    ],
)
def test_malformed_arguments_are_refused_by_add_alone(args: str) -> None:
    error = refused("ADD", CNI_ARGS=args)
    assert (error.code, error.msg.split(":")[0], error.version) == (4, "CNI_ARGS", "1.1.0")
    assert read("DEL", CNI_ARGS=args).container_id == "sandbox1"
