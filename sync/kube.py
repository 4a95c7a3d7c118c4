"""The only module that speaks to the API server's client library.

The official client gives authentication, TLS and connections; its models, its watch and its informer are not used
(they are pydantic models of whole objects, and lose a 410). Requests and answers are plain JSON. The library is imported
when a connection is made, for it takes 0.2 s and 30 MB.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from ledger.claims import Node
from ledger.events import Event, rfc3339
from ledger.pools import API_VERSION
from sync.errors import ApiAway, Conflict, Gone, KubeError, NotFound, NotReached, Refused, Silent
from sync.objects import NotAnObject, Pod, is_static_uid

__all__ = ["Api", "ApiEvidence", "KubeError", "Resource", "Stream", "node_of", "reached", "refusal"]

log = logging.getLogger(__name__)

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

PAGE: Final = 500
"""Objects a page. The API server holds a page of metadata in a few MB; larger pages save little."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something to list and watch. ``metadata_only``: without spec and status. ``fields``: a field selector."""

    name: str
    path: str
    metadata_only: bool = False
    fields: str | None = None


IPPOOLS: Final = Resource("ippools", f"/apis/{API_VERSION}/ippools")
PODS: Final = Resource(
    "pods", "/api/v1/pods", metadata_only=True, fields="status.phase!=Succeeded,status.phase!=Failed"
)
STATEFULSETS: Final = Resource("statefulsets", "/apis/apps/v1/statefulsets")
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
EVENTS: Final = "/api/v1/namespaces/{}/events"
CONFIGMAPS: Final = "/api/v1/namespaces/{}/configmaps"


class Api:
    """One API server, as one identity. Safe to share between threads."""

    def __init__(self, configuration: Any, *, seconds: float = 10.0) -> None:
        """``configuration``: the client library's. ``seconds``: how long a request may take unless it says otherwise."""
        from kubernetes.client import ApiClient

        configuration.connection_pool_maxsize = 16
        self._client = ApiClient(configuration)
        self._host = str(configuration.host).rstrip("/")
        self._pool = self._client.rest_client.pool_manager
        self._seconds = seconds

    @classmethod
    def connect(cls, kubeconfig: str | os.PathLike[str] | None = None, *, seconds: float = 10.0) -> Api:
        """By the kubeconfig file that is named; else as the pod that this is; else by ``KUBECONFIG`` or ``~/.kube/config``.

        Raises Refused with a sentence that says what is missing. Connects to nothing yet.
        """
        from kubernetes import client
        from kubernetes import config as untyped

        config: Any = untyped
        configuration = client.Configuration()
        try:
            if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=configuration)
            else:
                named = None if kubeconfig is None else Path(kubeconfig).expanduser()
                if named is not None:
                    named.open().close()  # whose error says more than the library's
                config.load_kube_config(
                    config_file=None if named is None else str(named), client_configuration=configuration
                )
        except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            where = f"kubeconfig {kubeconfig}" if kubeconfig else "no kubeconfig and not in a pod"
            raise Refused(
                0, "", f"no way to the API server: {where}: {getattr(error, 'strerror', None) or error}"
            ) from error
        return cls(configuration, seconds=seconds)

    @property
    def host(self) -> str:
        return self._host

    def close(self) -> None:
        self._pool.clear()

    # one request

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        kind: str = JSON,
        accept: str = JSON,
        seconds: float | None = None,
    ) -> Any:
        """One request; the decoded answer. ``seconds`` is the whole time it may take. Raises KubeError."""
        allowed = seconds or self._seconds
        deadline = time.monotonic() + allowed
        answer = self._send(method, path, body, query, kind, accept, connect=min(allowed, 5.0), read=allowed)
        try:
            raw = bytearray()
            with _in_our_words(self._host):
                # Read piece by piece: the transport's time-out is for each piece, ours is for the whole.
                for piece in answer.stream(65536, decode_content=True):
                    raw += piece
                    if time.monotonic() > deadline:
                        raise ApiAway(f"{self._host} did not answer {method} {path} within {allowed} s")
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        if answer.status >= 400:
            raise refusal(answer.status, bytes(raw), answer.headers)
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise ApiAway(f"{self._host} answered {method} {path} with something that is no JSON") from error

    def pages(self, resource: Resource, *, page: int = PAGE) -> Iterator[tuple[list[Any], str]]:
        """List, page by page: (objects, the list's resourceVersion). Raises Gone if the list takes longer than etcd remembers."""
        query: dict[str, str | int] = {"limit": page}
        if resource.fields:
            query["fieldSelector"] = resource.fields
        while True:
            accept = METADATA_LIST if resource.metadata_only else JSON
            found = self.call(
                "GET", resource.path, query=query, accept=accept, seconds=max(30.0, self._seconds)
            )
            try:
                meta = found["metadata"]
                yield found.get("items") or [], meta["resourceVersion"]
            except (TypeError, KeyError, AttributeError) as error:
                raise ApiAway(f"{self._host} answered a list of {resource.name} with no list") from error
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    def watch(self, resource: Resource, version: str, *, seconds: int, silence: float = 90.0) -> Stream:
        """Everything that changes after ``version``, for about ``seconds``; the server's bookmarks mostly break the silence every minute.

        ``silence``: seconds without anything after which Silent is raised. Raises KubeError.
        """
        query: dict[str, str | int] = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": seconds,
        }
        if resource.fields:
            query["fieldSelector"] = resource.fields
        accept = METADATA if resource.metadata_only else JSON
        answer = self._send("GET", resource.path, None, query, JSON, accept, connect=5.0, read=silence)
        if answer.status >= 400:
            with _in_our_words(self._host):
                raw = answer.read(65536)
            answer.close()
            raise refusal(answer.status, raw, answer.headers)
        return Stream(answer, self._host)

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str | int] | None,
        kind: str,
        accept: str,
        *,
        connect: float,
        read: float,
    ) -> Any:
        import urllib3

        headers = {"Accept": accept, "User-Agent": "ipam-ledger"}
        content = None
        if body is not None:
            headers["Content-Type"] = kind
            content = json.dumps(body, separators=(",", ":")).encode()
        with _in_our_words(self._host):
            # Asked for each request: a ServiceAccount's token is a file that the kubelet renews.
            self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, content)
            return self._pool.request(
                method,
                self._host + path + ("?" + urlencode(query) if query else ""),
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(connect=connect, read=read),
                retries=False,
                preload_content=False,
            )


@contextlib.contextmanager
def reached(kubeconfig: str | None, what: str = "the cluster cannot be asked") -> Iterator[Api]:
    """The API server, for as long as one command needs it. Raises NotReached for every KubeError; ``what`` begins its sentence."""
    try:
        with contextlib.closing(Api.connect(kubeconfig)) as api:
            yield api
    except KubeError as error:
        raise NotReached(f"{what}: {error}") from error


class Stream:
    """The lines of a watch, decoded. Iterate in one thread; ``close`` may be called from another."""

    def __init__(self, answer: Any, host: str) -> None:
        self._answer = answer
        self._host = host
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        rest = b""
        try:
            with _in_our_words(self._host):
                for piece in self._answer.stream(65536, decode_content=True):
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield json.loads(line)
        except ValueError as error:
            raise ApiAway(f"{self._host} sent something in a watch that is no JSON") from error
        except ApiAway:
            if not self._closed.is_set():
                raise
        finally:
            self._answer.close()

    def close(self) -> None:
        """End the iteration soon."""
        self._closed.set()
        with contextlib.suppress(Exception):
            self._answer.shutdown()  # wakes a reader that waits in recv


def refusal(code: int, raw: bytes, headers: Mapping[str, str] | None = None) -> KubeError:
    """The error that an answer means."""
    try:
        status = json.loads(raw)
    except ValueError:
        status = None
    ours = isinstance(status, dict) and status.get("kind") == "Status"
    reason = str(status.get("reason") or "") if ours else ""
    message = str(status.get("message") or "") if ours else raw[:200].decode(errors="replace").strip()
    if code == 429 or code >= 500:
        return ApiAway(message or f"the API server answered {code}", after=_retry_after(headers))
    if code == 404 and ours and reason == "NotFound" and (status.get("details") or {}).get("name"):
        return NotFound(code, reason, message)
    if code == 409:
        return Conflict(code, reason, message)
    if code == 410:
        return Gone(code, reason, message)
    return Refused(code, reason, message or "refused")


def _retry_after(headers: Mapping[str, str] | None) -> float:
    try:
        return min(60.0, float((headers or {}).get("Retry-After") or 0))
    except ValueError:
        return 0.0


@contextlib.contextmanager
def _in_our_words(host: str) -> Iterator[None]:
    """The transport's many errors are one: nothing is known."""
    import urllib3
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config import ConfigException

    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        kind = Silent if isinstance(error, urllib3.exceptions.ReadTimeoutError) else ApiAway
        raise kind(f"{host} cannot be reached: {type(error).__name__}: {error}") from error
    except (ConfigException, ApiException) as error:
        raise ApiAway(f"no credentials for {host}: {error}") from error


# -- single objects ------------------------------------------------------------------------------------


def pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"


def config_map_path(namespace: str, name: str) -> str:
    return f"{CONFIGMAPS.format(quote(namespace, safe=''))}/{quote(name, safe='')}"


def pool_path(name: str) -> str:
    return f"{IPPOOLS.path}/{quote(name, safe='')}"


def statefulset_path(namespace: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/statefulsets/{quote(name, safe='')}"


def node_of(api: Api, name: str) -> Node:
    """What the API server knows of a node, for the choice of a sub: its addresses and labels. Raises KubeError."""
    raw = api.call("GET", f"/api/v1/nodes/{quote(name, safe='')}")
    addresses = (raw.get("status") or {}).get("addresses") or []
    return Node(
        name=name,
        addresses=tuple(
            str(each.get("address")) for each in addresses if each.get("type") in ("InternalIP", "ExternalIP")
        ),
        labels=dict((raw.get("metadata") or {}).get("labels") or {}),
    )


def now_micro() -> str:
    """Now, as the API's MicroTime."""
    return rfc3339(datetime.now(UTC))


class ApiEvidence:
    """Whether a pod has ended, asked of the API server at this moment.

    Positive evidence only (law 6): the pod is not found, has another UID, or has finished. Anything else, and every
    error and time-out, is no evidence. ``seconds``: the deadline of one question. After a question that was not
    answered, none is asked for ``pause`` seconds, so that a full pool's many questions do not each wait for a server
    that is away. ``patient``: the caller has observed the absence for a while; only then is a missing mirror pod
    evidence about a static pod, which may run before the API server hears of it.
    """

    def __init__(self, api: Api, *, seconds: float = 2.0, pause: float = 1.0, patient: bool = False) -> None:
        self._api = api
        self._seconds = seconds
        self._pause = pause
        self._patient = patient
        self._not_before = 0.0

    def ended(self, holder: Event) -> str | None:
        owner = holder.owner
        if owner.namespace is None or owner.pod is None:
            return None
        if time.monotonic() < self._not_before:
            return None
        try:
            raw = self._api.call("GET", pod_path(owner.namespace, owner.pod), seconds=self._seconds)
            pod = Pod.from_raw(raw)
        except NotFound:
            if is_static_uid(owner.uid) and not self._patient:
                return None
            return "pod not found"
        except (KubeError, NotAnObject) as error:
            self._not_before = time.monotonic() + self._pause
            log.warning("no evidence about %s/%s: %s", owner.namespace, owner.pod, error)
            return None
        if (pod.namespace, pod.name) != (owner.namespace, owner.pod):
            return None
        if owner.uid and pod.uid and pod.uid != owner.uid:
            return f"pod has another UID now ({pod.uid})"
        if pod.finished:
            return f"pod has {pod.phase.lower()}"
        return None
