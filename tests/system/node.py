"""A node with sandboxes, and a runtime's way of calling plugins."""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import need
from tests.servers.agent import Answer, cni_env
from tests.servers.keeper import Keeper

PLUGINS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")

SERVE = """
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 8080), family=family) as server:
    print("listening", flush=True)
    connection, peer = server.accept()
    with connection:
        connection.sendall(peer[0].encode())
"""
"""Tells one caller the address that it came from."""

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), timeout=10) as connection:
    print(connection.makefile().read())
"""


def plugins_folder() -> Path:
    """Where the reference plugins are installed."""
    for folder in PLUGINS:
        if (Path(folder) / "bridge").exists():
            return Path(folder)
    raise need.missing("the CNI reference plugins", "apt-get install containernetworking-plugins")


def requirements() -> None:
    """Skip, unless this process may make network namespaces here."""
    need.root()
    ip = need.program("ip", "apt-get install iproute2")
    need.program("nsenter", "apt-get install util-linux")
    plugins_folder()
    name = f"il-try-{secrets.token_hex(3)}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        need.missing("the right to make network namespaces", f"`ip netns add` says: {made.stderr.strip()}")
    subprocess.run([ip, "netns", "delete", name], check=True)


class Namespace:
    """One network namespace, by a name of its own."""

    def __init__(self, keeper: Keeper, purpose: str) -> None:
        self.name = f"il-{purpose}-{secrets.token_hex(4)}"
        keeper.run("ip", "netns", "delete", self.name)
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def argv(self, *argv: str) -> list[str]:
        """A command in here. Not by ``ip netns exec``: that hides later mounts, of which a runtime makes some."""
        return ["nsenter", f"--net={self.path}", *argv]

    def run(self, *argv: str) -> str:
        return _run(*self.argv(*argv))

    def addresses(self, interface: str = "eth0") -> list[str]:
        """The global addresses of an interface, as ``address/prefix``; empty if there is none."""
        links = json.loads(self.run("ip", "-json", "address", "show"))
        return [
            f"{info['local']}/{info['prefixlen']}"
            for link in links
            if link.get("ifname") == interface
            for info in link["addr_info"]
            if info["scope"] == "global"
        ]

    def links(self) -> set[str]:
        """The names of all interfaces but the loopback one."""
        return {link["ifname"] for link in json.loads(self.run("ip", "-json", "link", "show"))} - {"lo"}

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


class Node:
    """A namespace that plays a machine, its sandboxes, and everything to remove in the end."""

    def __init__(self, keeper: Keeper, folder: Path) -> None:
        self.folder = folder
        self._keeper = keeper
        self.host = Namespace(keeper, "node")
        self._sandboxes: list[Namespace] = []

    def sandbox(self) -> Sandbox:
        """A new container's network namespace."""
        namespace = Namespace(self._keeper, "pod")
        self._sandboxes.append(namespace)
        return Sandbox(namespace, container=secrets.token_hex(32))

    def wire(self) -> str:
        """An interface for macvlan, plugged in nowhere. Skips the test where the kernel, which nobody can install here, has none."""
        add = ("ip", "link", "add")
        self.host.run(*add, "wire", "type", "veth", "peer", "name", "other")
        try:
            self.host.run(*add, "link", "wire", "name", "try", "type", "macvlan")
        except AssertionError as error:
            pytest.skip(f"this kernel has no macvlan: {error}")
        for change in (("delete", "try"), ("set", "wire", "up"), ("set", "other", "up")):
            self.host.run("ip", "link", *change)
        return "wire"

    def close(self) -> None:
        for namespace in [*self._sandboxes, self.host]:
            namespace.delete()


@dataclass
class Sandbox:
    """A container as a runtime knows it: namespace, id, and what ADD answered last."""

    namespace: Namespace
    container: str
    result: Any = None

    def reaches(self, other: Sandbox, *, at: str | None = None) -> str:
        """Open a TCP connection to the other sandbox (``at`` which of its addresses); what it saw as ours."""
        there = at or other.ip
        server = subprocess.Popen(
            other.namespace.argv(sys.executable, "-c", SERVE, there), stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            return self.namespace.run(sys.executable, "-c", ASK, there).strip()
        finally:
            server.kill()
            server.communicate()

    @property
    def holds(self) -> set[str]:
        """All addresses on eth0, without their prefixes."""
        return {address.partition("/")[0] for address in self.namespace.addresses()}

    @property
    def ip(self) -> str:
        """The first address on eth0, without its prefix."""
        addresses = self.namespace.addresses()
        assert addresses, f"{self.namespace.name} has no address"
        return addresses[0].partition("/")[0]


@dataclass(frozen=True)
class Network:
    """A network configuration with one main plugin, and a runtime's calls of it on a node."""

    node: Node
    conf: Mapping[str, Any]
    path: Sequence[Path] = field(default_factory=lambda: [plugins_folder()])

    def call(
        self,
        verb: str,
        sandbox: Sandbox,
        *,
        pod: str | None = "default/web-0",
        uid: str = "uid-1",
        netns: str | None = None,
        extra: Mapping[str, Any] | None = None,
        **env: str,
    ) -> Answer:
        """Execute the main plugin as libcni does. ``netns``: another than the sandbox's; ``extra``: more of the configuration."""
        conf = {**self.conf, **(extra or {})}
        return self._execute(str(conf["type"]), conf, verb, sandbox, pod, uid, netns, env)

    def add(self, sandbox: Sandbox, **how: Any) -> Any:
        """ADD that must go well; the result."""
        answer = self.call("ADD", sandbox, **how)
        assert answer.code == 0, f"ADD failed: {answer}"
        sandbox.result = answer.json
        return answer.json

    def check(self, sandbox: Sandbox, **how: Any) -> Answer:
        """CHECK, with the result of ADD as the SPEC wants it."""
        return self.call("CHECK", sandbox, extra={"prevResult": sandbox.result}, **how)

    def delete(self, sandbox: Sandbox, **how: Any) -> None:
        """DEL that must go well."""
        answer = self.call("DEL", sandbox, **how)
        assert answer.code == 0, f"DEL failed: {answer}"

    def _execute(
        self,
        plugin: str,
        conf: Mapping[str, Any],
        verb: str,
        sandbox: Sandbox,
        pod: str | None,
        uid: str,
        netns: str | None,
        env: Mapping[str, str],
    ) -> Answer:
        program = next(folder / plugin for folder in self.path if (folder / plugin).exists())
        variables = cni_env(verb, container=sandbox.container, pod=pod, uid=uid, **env)
        variables["CNI_NETNS"] = sandbox.namespace.path if netns is None else netns
        variables["CNI_PATH"] = ":".join(map(str, self.path))
        done = subprocess.run(
            self.node.host.argv(str(program)),
            input=json.dumps(conf),
            capture_output=True,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath), **variables},
            timeout=60,
            check=False,
        )
        assert not done.stdout or done.stdout.lstrip().startswith("{"), (
            f"stdout is not one answer: {done.stdout!r}"
        )
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr)


def free_subnet() -> str:
    """The first three numbers of a /24 that this machine is not likely to use: ``10.201.7``."""
    return f"10.{random.randrange(130, 250)}.{random.randrange(256)}"


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout
