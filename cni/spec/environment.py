"""What the environment says: the attachment, and in CNI_ARGS the pod (SPEC sections 2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cni.spec import fields
from cni.spec.words import NAME, NO_NAME, Code, Refusal, Verb

IF_NAME = re.compile(r"[^\s/:\x00]{1,15}")

NEEDS: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.GC: (),
    Verb.STATUS: (),
    Verb.VERSION: (),
}
"""What a verb requires besides CNI_COMMAND (section 3). Not CNI_PATH, though the SPEC lists it for GC and
STATUS: we execute no other plugin."""

OWNER = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID")
"""What of CNI_ARGS goes into the ledger."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Who asks, from CNI_ARGS; each None where the runtime did not say. podman gives only a name."""

    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    asked: tuple[str, ...] = ()


def verb(env: Mapping[str, str]) -> Verb:
    said = env.get("CNI_COMMAND", "")
    if not said:
        raise Refusal(Code.ENVIRONMENT, "required env variables [CNI_COMMAND] missing")
    try:
        return Verb(said)
    except ValueError:
        raise Refusal(Code.ENVIRONMENT, f"unknown CNI_COMMAND: {fields.shown(said)}") from None


def container_id(env: Mapping[str, str]) -> str:
    value = env["CNI_CONTAINERID"]
    if not NAME.fullmatch(value):
        raise Refusal(Code.ENVIRONMENT, f"CNI_CONTAINERID: {NO_NAME} (got {fields.shown(value)})")
    return value


def if_name(env: Mapping[str, str]) -> str:
    value = env["CNI_IFNAME"]
    if not IF_NAME.fullmatch(value) or value in (".", "..") or not value.isprintable():
        raise Refusal(
            Code.ENVIRONMENT,
            f"CNI_IFNAME: no interface name: 1 to 15 characters without '/', ':' and space, not '.' or '..' (got {fields.shown(value)})",
        )
    return value


def pod(args: str) -> Pod:
    """CNI_ARGS (section 2): ``KEY=VALUE`` by semicolons. Unknown keys are somebody else's."""
    said: dict[str, str] = {}
    for pair in filter(None, args.split(";")):
        key, eq, value = pair.partition("=")
        if not eq or not key:
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: {fields.shown(pair)} is no KEY=VALUE")
        said[key] = value
    for key, value in said.items():
        # The slash separates namespace and pod in the ledger's owner keys; no Kubernetes name holds one.
        if key in OWNER and ("/" in value or len(value) > 253 or not value.isprintable()):
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: {key} is no name (got {fields.shown(value)})")
    asked = []
    for ip in filter(None, said.get("IP", "").split(",")):
        try:
            asked.append(fields.address(ip))
        except ValueError:
            raise Refusal(Code.ENVIRONMENT, f"CNI_ARGS: IP={fields.shown(ip)} is no IP address") from None
    return Pod(
        namespace=said.get("K8S_POD_NAMESPACE") or None,
        name=said.get("K8S_POD_NAME") or None,
        uid=said.get("K8S_POD_UID") or None,
        asked=tuple(dict.fromkeys(asked)),
    )
