"""A real API server on loopback: etcd, kube-apiserver with RBAC, and on demand the controller manager.

``ControlPlane.start()`` takes a few seconds. Nothing runs pods here: a test plays the kubelet, through
``request`` as the admin, or through ``kubectl``.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.keeper import Keeper
from tests.servers.kubeprograms import Programs
from tests.servers.postgres import free_port
from tests.servers.process import Process

ADMIN = "admin"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TYPES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """The API server refused: ``code`` and the whole ``Status``."""

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(f"{code}: {status.get('message', status)}")
        self.code = code
        self.status = status


class ControlPlane:
    """``start`` · ``stop`` · ``kill9_apiserver`` · ``start_apiserver`` · ``kubectl`` · ``request`` · ``token``."""

    def __init__(self, programs: Programs, keeper: Keeper, *, audit: bool = False) -> None:
        """``audit``: note every request, for ``audited``."""
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="ipam-ledger-kube-", dir="/tmp"))
        keeper.remove(self.folder)
        self.port, self.etcd_port, peer = free_port(), free_port(), free_port()
        self.admin_token = secrets.token_hex(16)
        self._write_secrets()
        self.kubeconfig = self.write_kubeconfig(ADMIN, self.admin_token)
        self._tls = ssl.create_default_context(cafile=str(self.folder / "server.crt"))
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        self.etcd = Process(
            [
                str(programs.etcd),
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",  # the tests kill processes, never the machine
                f"--quota-backend-bytes={8 * 2**30}",
                "--log-level=error",
            ],
            log=self.folder / "etcd.log",
            keeper=keeper,
        )
        self.apiserver = Process(
            [
                str(programs.apiserver),
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",  # loopback may be no endpoint
                f"--secure-port={self.port}",
                f"--cert-dir={self.folder}",
                f"--tls-cert-file={self.folder / 'server.crt'}",
                f"--tls-private-key-file={self.folder / 'server.key'}",
                "--service-cluster-ip-range=10.96.0.0/24",
                f"--service-account-key-file={self.folder / 'sa.pub'}",
                f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--token-auth-file={self.folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",  # pods may be made before their ServiceAccount
                "--etcd-compaction-interval=0",  # a test compacts when it wants to
                "--allow-privileged=true",
                "--shutdown-delay-duration=0s",
                "--v=0",
                *(self._auditing() if audit else ()),
            ],
            log=self.folder / "apiserver.log",
            keeper=keeper,
        )
        self.controllers = Process(
            [
                str(programs.controller_manager),
                f"--kubeconfig={self.kubeconfig}",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                "--leader-elect=false",
                "--controllers=statefulset-controller,replicaset-controller,garbage-collector-controller,"
                "namespace-controller,serviceaccount-controller,job-controller",
                f"--service-account-private-key-file={self.folder / 'sa.key'}",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
            log=self.folder / "controllers.log",
            keeper=keeper,
        )

    # life

    def start(self) -> None:
        self.etcd.start(self._etcd_answers)
        self.start_apiserver()

    def start_apiserver(self) -> None:
        self.apiserver.start(self._ready, seconds=90)

    def start_controllers(self) -> None:
        """StatefulSets, ReplicaSets, Jobs, garbage collection, namespaces, ServiceAccounts. Once; later calls do nothing."""
        if not self.controllers.alive:
            self.controllers.start(lambda: self.controllers.alive)

    def kill9_apiserver(self) -> None:
        """Every connection and every watch is cut at once."""
        self.apiserver.kill9()

    def close(self) -> None:
        for process in (self.controllers, self.apiserver, self.etcd):
            process.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    # etcd

    def compact(self) -> None:
        """Forget every revision but the newest: whoever still wants to go on from an older one gets a 410."""
        status = self.etcd_call("maintenance/status")
        self.etcd_call("kv/compaction", {"revision": status["header"]["revision"], "physical": True})

    def etcd_call(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call of etcd's JSON gateway."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.etcd_port}/v3/{call}", data=json.dumps(body or {}).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            out: dict[str, Any] = json.load(answer)
            return out

    # the API

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        patch: str = "merge",
        seconds: float = 30,
    ) -> Any:
        """One API call as the admin (or the bearer of ``token``); the decoded answer. Raises ApiError."""
        kind = TYPES[patch] if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.admin_token}", "Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self._tls) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raw = error.read()
            try:
                status = json.loads(raw)
            except ValueError:
                status = {"message": raw.decode(errors="replace")}
            if error.code == 429 and seconds > 1:
                time.sleep(1)  # "storage is (re)initializing": a watch cache that nobody used before
                return self.request(method, path, body, token=token, patch=patch, seconds=seconds - 1)
            raise ApiError(error.code, status) from None
        try:
            return json.loads(raw)
        except ValueError:
            return raw.decode()

    def kubectl(
        self,
        *args: str,
        stdin: Any = None,
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the admin. ``stdin``: text, or anything else as JSON."""
        text = stdin if stdin is None or isinstance(stdin, str) else json.dumps(stdin)
        done = subprocess.run(
            [str(self.programs.kubectl), *args],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "HOME": str(self.folder),  # its discovery cache
                "PATH": "/usr/bin:/bin",
            },
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done

    def apply(self, *what: Any) -> str:
        """``kubectl apply`` of a path, or of objects."""
        if len(what) == 1 and isinstance(what[0], Path):
            return self.kubectl("apply", "-f", str(what[0])).stdout
        listed = {"apiVersion": "v1", "kind": "List", "items": list(what)}
        return self.kubectl("apply", "-f", "-", stdin=listed).stdout

    def token(self, namespace: str, service_account: str) -> str:
        """A token of a ServiceAccount, signed by the API server as a kubelet would ask for it."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        token: str = answer["status"]["token"]
        return token

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig file with the rights of a ServiceAccount."""
        return self.write_kubeconfig(f"{namespace}-{service_account}", self.token(namespace, service_account))

    def write_kubeconfig(self, name: str, token: str) -> Path:
        # By its path: of an authority in the file itself, clients make a temporary file, which a killed one leaves behind.
        authority = str(self.folder / "server.crt")
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {"server": self.url, "certificate-authority": authority},
                        }
                    ],
                    "users": [{"name": name, "user": {"token": token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
                    "current-context": "test",
                }
            )
        )
        file.chmod(0o600)
        return file

    def audited(self, user: str) -> list[tuple[str, str]]:
        """Every request of a user that has been answered: (verb, resource or resource/subresource), in order."""
        out = []
        for line in (self.folder / "audit.log").read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] == user:
                about = event.get("objectRef") or {}
                parts = (about.get("resource", event["requestURI"]), about.get("subresource"))
                out.append((event["verb"], "/".join(part for part in parts if part)))
        return out

    # inside

    def _auditing(self) -> tuple[str, ...]:
        policy = self.folder / "audit-policy.json"
        policy.write_text(
            json.dumps(
                {
                    "apiVersion": "audit.k8s.io/v1",
                    "kind": "Policy",
                    "omitStages": ["RequestReceived", "ResponseStarted"],
                    "rules": [{"level": "Metadata"}],
                }
            )
        )
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self.folder / 'audit.log'}")

    def _etcd_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.etcd_port}/health", timeout=2) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, ValueError):
            return False

    def _ready(self) -> bool:
        try:
            self.request("GET", "/readyz", seconds=5)
            self.request("GET", "/api/v1/namespaces/default", seconds=5)
            # Custom resources come up after readiness: until then they are a 503 or a 429.
            for crd in self.request("GET", f"{CRDS}?limit=9", seconds=5)["items"]:
                spec = crd["spec"]
                version = spec["versions"][0]["name"]
                self.request("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}", seconds=5)
        except (OSError, ApiError):
            return False
        return True

    def _write_secrets(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ipam-ledger test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            # strict checks of the client's TLS library ask for these two of an authority
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._write("server.crt", certificate.public_bytes(serialization.Encoding.PEM))
        self._write("server.key", _pem(key))
        account = ec.generate_private_key(ec.SECP256R1())
        self._write("sa.key", _pem(account))
        self._write(
            "sa.pub",
            account.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )
        self._write("tokens.csv", f'{self.admin_token},{ADMIN},{ADMIN},"system:masters"\n'.encode())

    def _write(self, name: str, content: bytes) -> None:
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_bytes(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
