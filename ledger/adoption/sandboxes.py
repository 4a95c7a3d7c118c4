"""The running pods' sandboxes, as ``crictl pods -o json`` prints them: which container is which pod's. Pure.

They complete what another IPAM does not know: host-local's containers get their pods, k8s-ipam's pods their containers.
They tell, too, which of two records that contradict each other is alive; they never make a record dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ledger.adoption.found import Found, Problem, container_id, is_placeholder, object_of, pod_owner, text_of
from ledger.errors import InvalidInput, InvalidRequest
from ledger.events import Attachment, Owner


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod's sandbox that is ready. ``owner`` has its UID."""

    container_id: str
    owner: Owner


def read(documents: Iterable[object], source: str) -> tuple[list[Sandbox], list[Problem]]:
    """Sandboxes that are not ready are left out: they run nothing. Raises InvalidInput for what is no such list."""
    found: list[Sandbox] = []
    problems: list[Problem] = []
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        if not isinstance(items, list):
            raise InvalidInput(
                source, None, "is not what `crictl pods -o json` prints: it has no list of items"
            )
        for number, item in enumerate(items):
            try:
                raw = object_of(item, "sandbox")
                if raw.get("state") != "SANDBOX_READY":
                    continue
                meta = object_of(raw.get("metadata"), "metadata")
                owner = pod_owner(meta.get("namespace"), meta.get("name"), "metadata")
                uid = text_of(meta.get("uid"), "metadata.uid") or None
                if uid is not None and len(uid) > 253:
                    raise InvalidRequest("metadata.uid", uid, "is longer than 253 characters")
                found.append(Sandbox(container_id(raw.get("id"), "id"), replace(owner, uid=uid)))
            except InvalidInput as error:
                problems.append(Problem.of(error, f"{source} items[{number}]"))
    return found, problems


def identify(found: Iterable[Found], sandboxes: Sequence[Sandbox]) -> list[Found]:
    """The same records with what the sandboxes add: pods of containers, and containers and UIDs of pods."""
    by_id = {each.container_id: each for each in sandboxes}
    by_pod: dict[tuple[str | None, str | None], list[Sandbox]] = {}
    for each in sandboxes:
        by_pod.setdefault((each.owner.namespace, each.owner.pod), []).append(each)
    return [_identified(each, by_id, by_pod) for each in found]


def _identified(
    found: Found,
    by_id: dict[str, Sandbox],
    by_pod: dict[tuple[str | None, str | None], list[Sandbox]],
) -> Found:
    known = by_id.get(found.attachment.container_id)
    if known is None and is_placeholder(found.attachment.container_id):
        ready = by_pod.get((found.owner.namespace, found.owner.pod), [])
        known = ready[0] if len(ready) == 1 else None
    if known is None:
        return found
    if found.owner.is_pod and (found.owner.namespace, found.owner.pod) != (
        known.owner.namespace,
        known.owner.pod,
    ):
        return found  # the source's word against the runtime's: not ours to decide
    attachment = Attachment(known.container_id, found.attachment.if_name, found.attachment.network)
    return replace(found, owner=known.owner, attachment=attachment)
