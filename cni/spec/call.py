"""One execution of the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cni.spec import environment
from cni.spec.configuration import Conf, read_conf
from cni.spec.environment import NEEDS, Pod
from cni.spec.words import Code, Refusal, Verb


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of the plugin. ``container_id`` and ``if_name`` are empty for GC and STATUS."""

    verb: Verb
    container_id: str
    if_name: str
    pod: Pod
    conf: Conf

    @classmethod
    def from_raw(cls, env: Mapping[str, str], stdin: bytes) -> Call:
        """What the runtime said. Raises Refusal.

        A DEL is read with tolerance: whatever does not name the attachment cannot make it fail, since no
        ADD can have succeeded with it, and a runtime repeats a failed DEL for ever.
        """
        verb = environment.verb(env)
        missing = [name for name in NEEDS[verb] if not env.get(name)]
        if missing:
            raise Refusal(Code.ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
        try:
            conf = read_conf(verb, stdin)
        except RecursionError:
            raise Refusal(Code.DECODING, "stdin is not JSON for us: nested too deeply") from None
        try:
            return cls(
                verb=verb,
                container_id=environment.container_id(env) if NEEDS[verb] else "",
                if_name=environment.if_name(env) if NEEDS[verb] else "",
                pod=environment.pod(env.get("CNI_ARGS", "")) if verb is Verb.ADD else Pod(),
                conf=conf,
            )
        except Refusal as refusal:
            refusal.version = conf.version
            raise
