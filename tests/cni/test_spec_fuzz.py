"""Whatever a runtime could say, it is taken or refused with one of the SPEC's codes, in a short message."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cni import spec
from cni.spec import Call, Refusal

texts = st.text(st.characters(), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
jsons = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
ips = st.sampled_from(
    ["10.0.0.1", "10.0.0.1/24", "::1", "fd00::1/64", "10.0.0", "", "x", "1.2.3.4/", "::1%lo"]
)
names = st.sampled_from(["podnet", "a.b", "-", "", "a b"])


def maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, sometimes anything."""
    return st.one_of(good, good, good, jsons)


routes = st.lists(
    maybe(
        st.fixed_dictionaries({"dst": maybe(ips)}, optional={"gw": maybe(ips), "mtu": maybe(st.integers())})
    ),
    max_size=3,
)
sections = st.fixed_dictionaries(
    {"ipPoolName": maybe(names)},
    optional={
        "ipPoolNames": maybe(st.lists(maybe(names), max_size=3)),
        "routes": maybe(routes),
        "dns": maybe(st.dictionaries(st.sampled_from(["nameservers", "domain", "search"]), jsons)),
        "socket": maybe(texts),
        "ledger": maybe(texts),
    },
)
listed = maybe(
    st.lists(maybe(st.fixed_dictionaries({"containerID": maybe(names), "ifname": maybe(texts)})), max_size=3)
)
confs = st.fixed_dictionaries(
    {"name": maybe(names), "ipam": maybe(sections)},
    optional={
        "cniVersion": maybe(st.sampled_from(spec.VERSIONS)),
        "args": maybe(st.fixed_dictionaries({"cni": maybe(st.fixed_dictionaries({"ips": maybe(st.lists(ips))}))})),
        "runtimeConfig": maybe(st.fixed_dictionaries({"ips": maybe(st.lists(maybe(ips)))})),
        "prevResult": maybe(st.fixed_dictionaries({"ips": maybe(st.lists(maybe(st.fixed_dictionaries({"address": maybe(ips)}))))})),
        "cni.dev/valid-attachments": listed,
        "cni.dev/attachments": listed,
    },
)  # fmt: skip
values = st.text(st.characters(), max_size=30)
environments = st.fixed_dictionaries(
    {"CNI_COMMAND": st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "x"])},
    optional={
        "CNI_CONTAINERID": st.sampled_from(["a", "abc-1", "/", "\ud800"]) | values,
        "CNI_NETNS": values,
        "CNI_IFNAME": st.sampled_from(["eth0", "..", "net:1"]) | values,
        "CNI_ARGS": st.lists(
            st.sampled_from(["K8S_POD_NAME=a", "K8S_POD_NAMESPACE=b", "IP=10.0.0.1", "IP=", "IgnoreUnknown=1"]) | values, max_size=5
        ).map(";".join),
        "CNI_PATH": values,
    },
)  # fmt: skip


def check(env: dict[str, str], stdin: bytes) -> None:
    try:
        call = Call.from_raw(env, stdin)
    except Refusal as refusal:
        assert refusal.code in (1, 4, 6, 7)
        said = json.loads(refusal.to_json())
        assert said["msg"]
        assert len(said["msg"]) < 1_000
        assert said["cniVersion"] in spec.VERSIONS
    else:
        assert call.conf.network or call.verb is spec.Verb.VERSION
        addresses = [spec.Address("10.0.0.1", 24, "10.0.0.9"), spec.Address("fd00::1", 64, None)]
        assert json.loads(spec.result(call.conf, addresses))["cniVersion"] == call.conf.version


@given(environments, confs)
def test_configurations_of_every_kind(env: dict[str, str], conf: dict[str, Any]) -> None:
    check(env, json.dumps(conf).encode())


@given(environments, st.binary(max_size=200))
def test_stdin_of_every_kind(env: dict[str, str], stdin: bytes) -> None:
    check(env, stdin)


@given(environments, confs, st.data())
def test_configurations_that_were_damaged_on_the_way(
    env: dict[str, str], conf: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(json.dumps(conf).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(env, bytes(raw))
