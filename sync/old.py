"""What other IPAMs keep in the API server, for ``ipam-ledger adopt --from KIND cluster``, which finds this by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sync.errors import NotReached, Refused
from sync.kube import IPPOOLS, Api, Resource, reached

_WHEREABOUTS: Final = "/apis/whereabouts.cni.cncf.io/v1alpha1"
KINDS: Final[dict[str, tuple[Resource, ...]]] = {
    "k8s-ipam": (IPPOOLS,),
    "whereabouts": (
        Resource("ippools", f"{_WHEREABOUTS}/ippools"),
        Resource("overlappingrangeipreservations", f"{_WHEREABOUTS}/overlappingrangeipreservations"),
    ),
}
"""The first of each must be there; whether the others are depends on the version of the other IPAM."""


def read(kind: str, kubeconfig: str | None = None) -> Iterator[tuple[str, object]]:
    """Every object that the IPAM of that kind keeps, of all namespaces, with the words that say where it stands.

    ``kubeconfig``: None for the usual places. Raises NotReached; half a list is never taken for the whole.
    """
    with reached(kubeconfig, f"the objects of {kind} cannot be read") as api:
        for number, resource in enumerate(KINDS[kind]):
            yield from _list(api, resource, optional=number > 0)


def _list(api: Api, resource: Resource, *, optional: bool) -> Iterator[tuple[str, object]]:
    try:
        for items, _ in api.pages(resource):
            for item in items:
                yield f"{api.host} {resource.name}", item
    except Refused as error:
        if error.code != 404:
            raise
        if not optional:
            raise NotReached(f"the API server knows no {resource.path}: is that IPAM installed?") from error
