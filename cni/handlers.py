"""A call becomes a request to the book, its answer a result, and each error of the ledger one CNI code."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Protocol, assert_never

from cni import spec
from cni.keyed import KeyedLock
from cni.spec import Call, Code, Conf, Pod, Refusal, Verb
from ledger.claims import Allocation, Claim, Node
from ledger.errors import (
    AddressUnavailable,
    InvalidInput,
    LedgerError,
    NotOnThisNode,
    PoolExhausted,
    SchemaMismatch,
    TryAgain,
    UnknownPool,
)
from ledger.events import Attachment, Event, Owner

log = logging.getLogger(__name__)

CODES: tuple[tuple[type[Exception], Code], ...] = (
    (TryAgain, Code.TRY_AGAIN),
    (SchemaMismatch, Code.TRY_AGAIN),  # mended from outside; the same call then succeeds
    (OSError, Code.TRY_AGAIN),  # so is a disk that refuses
    (PoolExhausted, Code.POOL_EXHAUSTED),
    (AddressUnavailable, Code.ADDRESS_UNAVAILABLE),
    (UnknownPool, Code.INVALID_CONFIG),
    (InvalidInput, Code.INVALID_CONFIG),
    (NotOnThisNode, Code.INVALID_CONFIG),
)
"""The one table from the ledger's errors to the codes of interface.md; everything else is INTERNAL."""


class Desk(Protocol):
    """What a handler asks of the book. The agent puts its lanes and its queue before it."""

    def allocate(self, claim: Claim) -> tuple[Allocation, ...]: ...
    def release(self, attachment: Attachment) -> object: ...
    def held_by(self, attachment: Attachment) -> tuple[Allocation, ...]: ...
    def collect(self, *, network: str, node: str, keep: Collection[Attachment]) -> list[Event]: ...
    def pool(self, name: str) -> Any: ...
    def ready(self) -> None: ...
    def unfenced(self) -> None: ...


class Handlers:
    """Answers calls from ``desk``'s book, for containers on ``node``.

    The verbs of one container wait for each other (``containers``): a DEL for the ADD that is still in flight,
    whose address would otherwise leak.
    """

    def __init__(self, desk: Desk, *, node: Node, containers: KeyedLock) -> None:
        self._desk = desk
        self.node = node  # replaced when more of it is learned
        self._containers = containers

    def reply(self, env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """The plugin's exit status and stdout for what the runtime said. Never raises."""
        try:
            call = Call.from_raw(env, stdin)
            if not call.container_id:
                return 0, self.answer(call)
            with self._containers(call.container_id):
                return 0, self.answer(call)
        except Refusal as refusal:
            return 1, refusal.to_json()
        except Exception as error:
            return 1, refusal_of(error, env.get("CNI_COMMAND", ""), spec.LATEST).to_json()

    def answer(self, call: Call) -> bytes:
        """What the plugin prints. Raises Refusal."""
        try:
            match call.verb:
                case Verb.ADD:
                    return self._add(call)
                case Verb.DEL:
                    self._desk.release(attachment_of(call))
                case Verb.CHECK:
                    self._check(call)
                case Verb.GC:
                    self._gc(call.conf)
                case Verb.STATUS:
                    self._status(call.conf)
                case Verb.VERSION:
                    return spec.versions(call.conf.version)
                case _:
                    assert_never(call.verb)
        except Refusal as refusal:
            refusal.version = call.conf.version
            raise
        except Exception as error:
            raise refusal_of(error, call.verb, call.conf.version) from error
        return b""

    def claim_of(self, call: Call) -> Claim:
        """What an ADD asks of the book."""
        return Claim(
            pools=call.conf.pools,
            owner=owner_of(call.pod),
            attachment=attachment_of(call),
            node=self.node,
            asked=tuple(dict.fromkeys(call.pod.asked + call.conf.asked)),
        )

    def became(self, call: Call, outcome: tuple[Allocation, ...] | LedgerError) -> tuple[int, bytes] | None:
        """Exit status and stdout for what became of a call; None where only ``reply`` can tell, which may ask for evidence."""
        if isinstance(outcome, PoolExhausted):
            return None
        if isinstance(outcome, LedgerError):
            return 1, refusal_of(outcome, call.verb, call.conf.version).to_json()
        try:
            return 0, self._result(call, outcome)
        except Refusal as refusal:
            return 1, refusal.to_json()

    def _add(self, call: Call) -> bytes:
        return self._result(call, self._desk.allocate(self.claim_of(call)))

    def _result(self, call: Call, allocations: tuple[Allocation, ...]) -> bytes:
        try:
            return spec.result(
                call.conf, [spec.Address(a.ip, a.prefix_length, a.gateway) for a in allocations]
            )
        except Refusal:  # the version cannot carry them, or it is too large
            if any(a.event for a in allocations):  # given just now, and the runtime will never know of it
                self._desk.release(attachment_of(call))
            raise

    def _check(self, call: Call) -> None:
        """SPEC section 3, CHECK: what this plugin gave must be there still, and be what ``prevResult`` says."""
        attachment, conf = attachment_of(call), call.conf
        held = self._desk.held_by(attachment)
        pools = [self._desk.pool(name).spec for name in conf.pools]
        if not held:
            self._fail(f"{_words(attachment)} holds no address")
        for a in held:
            if a.ip not in conf.previous:
                self._fail(
                    f"{_words(attachment)} holds {a.ip} of pool {a.pool!r}, which prevResult does not name"
                )
        for name in conf.pools:
            if name not in {a.pool for a in held}:
                self._fail(f"{_words(attachment)} holds no address of pool {name!r}")
        for ip in conf.previous:  # one outside our pools is another plugin's
            if ip not in {a.ip for a in held} and any(pool.sub_around(ip) for pool in pools):
                self._fail(f"prevResult names {ip}, which {_words(attachment)} does not hold")

    def _fail(self, msg: str) -> NoReturn:
        raise Refusal(Code.CHECK_FAILED, msg)

    def _gc(self, conf: Conf) -> None:
        """Scoped to this node and this network, or one node would free the whole cluster's addresses."""
        keep = {Attachment(container_id, if_name, conf.network) for container_id, if_name in conf.valid}
        freed = self._desk.collect(network=conf.network, node=self.node.name or "", keep=keep)
        if freed:
            log.info("GC of network %s: %d kept, %d freed", conf.network, len(keep), len(freed))

    def _status(self, conf: Conf) -> None:
        self._desk.ready()
        self._desk.unfenced()
        for name in conf.pools:
            figures = self._desk.pool(name)
            if figures.exhausted:
                families = " and ".join(f"IPv{family}" for family in figures.exhausted)
                raise Refusal(
                    Code.LIMITED,
                    f"pool {name!r} has no free {families} address: only existing addresses are served (capacity {figures.capacity},"
                    f" allocated {figures.allocated}, held {figures.held}, cooling {figures.cooling})",
                )


def attachment_of(call: Call) -> Attachment:
    return Attachment(call.container_id, call.if_name, call.conf.network)


def owner_of(pod: Pod) -> Owner:
    """A pod needs both names; with less the owner is the container, and the name is for people to read."""
    if pod.namespace and pod.name:
        return Owner(pod.namespace, pod.name, pod.uid)
    return Owner(None, pod.name, pod.uid)


def refusal_of(error: Exception, verb: str, version: str) -> Refusal:
    """The table, applied; what is not in it is logged under an id that the answer names."""
    for kind, code in CODES:
        if isinstance(error, kind):
            if code is Code.TRY_AGAIN and verb == Verb.STATUS:
                code = Code.NOT_AVAILABLE
            facts = error.facts() if isinstance(error, LedgerError) else {}
            return Refusal(code, str(error), _details(facts), version=version)
    line = os.urandom(4).hex()
    log.error("[%s] %s failed", line, verb, exc_info=error)
    return Refusal(Code.INTERNAL, f"{type(error).__name__}: {error}", f"log line {line}", version=version)


def _details(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, default=str) if facts else ""


def _words(attachment: Attachment) -> str:
    return f"{attachment.if_name} of container {attachment.container_id} in network {attachment.network!r}"
