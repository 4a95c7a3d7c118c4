"""``make demo``: the main job, for real, on the embedded SQLite ledger, in a temporary folder, without root.

Every line that starts with ``$`` is a command that runs here as shown; what stands below it is what it printed. Exits
with 1 if anything is not as it should be, so it is also the shortest end-to-end test there is.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parent.parent / "crds" / "examples" / "ippool.json"
BOLD, DIM, PLAIN = (
    ("\033[1m", "\033[2m", "\033[0m")
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    else ("", "", "")
)


def story(text: str) -> None:
    print(f"\n{BOLD}{textwrap.fill(text, 100)}{PLAIN}", flush=True)


def show(out: str) -> None:
    if out.strip():
        print(textwrap.indent(out.rstrip(), "  "), flush=True)


class Demo:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "IPAM_LEDGER_DB": f"sqlite:///{folder / 'ledger.db'}",
            "COLUMNS": "110",
        }
        self.socket = folder / "agent.sock"
        self.agent: subprocess.Popen[str] | None = None

    def run(self, command: str, *, expect: int = 0, stdin: str | None = None, **env: str) -> str:
        """Show a command, run it, show what it prints."""
        print(f"{DIM}$ {command}{PLAIN}", flush=True)
        done = subprocess.run(
            shlex.split(command),
            input=stdin,
            capture_output=True,
            text=True,
            env={**self.env, **env},
            cwd=self.folder,
        )
        show(done.stdout + done.stderr)
        if done.returncode != expect:
            raise SystemExit(f"\nthe demo failed: {command!r} ended with {done.returncode}, not {expect}")
        return done.stdout

    def quietly(self, command: str) -> str:
        return subprocess.run(
            shlex.split(command), stdout=subprocess.PIPE, text=True, env=self.env, cwd=self.folder, check=True
        ).stdout

    def cni(self, verb: str, pod: str, container: str, *, pool: str = "ippool", expect: int = 0) -> str:
        """What a runtime does: the plugin, its environment, the network configuration on stdin. ADD gives the address."""
        network = {
            "cniVersion": "1.1.0",
            "name": "podnet",
            "type": "bridge",
            "ipam": {"type": "k8s-ipam", "ipPoolName": pool, "socket": str(self.socket)},
        }
        print(f"{DIM}# {verb} of pod default/{pod}, container {container}{PLAIN}")
        out = self.run(
            "cni/k8s-ipam",
            expect=expect,
            stdin=json.dumps(network),
            CNI_COMMAND=verb,
            CNI_CONTAINERID=container,
            CNI_NETNS=f"/run/netns/{container}",
            CNI_IFNAME="eth0",
            CNI_PATH=str(self.folder / "cni"),
            CNI_ARGS=f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID=uid-{container}",
        )
        return (
            str(json.loads(out)["ips"][0]["address"].partition("/")[0])
            if verb == "ADD" and not expect
            else out
        )

    def start_agent(self) -> None:
        command = "ipam-ledger agent --socket agent.sock --node node1 --evidence file:$PWD/gone.txt --queue-dir queue"
        print(f"{DIM}$ {command} &{PLAIN}", flush=True)
        self.agent = subprocess.Popen(
            shlex.split(command.replace("$PWD", str(self.folder))),
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd=self.folder,
        )
        assert self.agent.stderr is not None
        for line in self.agent.stderr:
            show(line)
            if "ready" in line:
                return
        raise SystemExit("the demo failed: the agent ended")

    def close(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait()
        shutil.rmtree(self.folder)


def expect(truth: bool, what: str) -> None:
    if not truth:
        raise SystemExit(f"\nthe demo failed: {what}")


def main() -> None:
    demo = Demo(Path(tempfile.mkdtemp(prefix="ipam-ledger-demo-")))
    try:
        tell(demo)
    finally:
        demo.close()


def tell(demo: Demo) -> None:
    started = time.monotonic()
    story(
        "A pool: the IPPool JSON of the k8s-ipam plugin, as kubectl takes it. 1,022 addresses in the subnet, 995 to give out."
    )
    shutil.copy(EXAMPLE, demo.folder / "ippool.json")
    demo.run("ipam-ledger pool apply -f ippool.json")

    story("The plugin for the container runtime, one file; and the node's agent.")
    demo.run("mkdir cni")
    demo.run("ipam-ledger install-cni --to cni")
    demo.start_agent()

    story("A runtime starts two pods: it executes the plugin with CNI_COMMAND=ADD.")
    web0 = demo.cni("ADD", "web-0", "c1")
    web1 = demo.cni("ADD", "web-1", "c2")
    expect(web0 != web1, "two pods have one address")

    story("web-0's sandbox dies and is made anew: same name, new container. It keeps its address, and the late DEL of the "
          "old sandbox does not take it away.")  # fmt: skip
    relaunched = datetime.now(UTC).isoformat()
    expect(demo.cni("ADD", "web-0", "c3") == web0, "the relaunched pod has another address")
    demo.cni("DEL", "web-0", "c1")
    expect(web0 in demo.run(f"ipam-ledger who-had {web0}"), "the late DEL freed the address")

    story(
        "web-1 is deleted; DEL comes twice, as it does in life. Started again a while later, it is back at its address."
    )
    demo.cni("DEL", "web-1", "c2")
    demo.cni("DEL", "web-1", "c2")
    expect(demo.cni("ADD", "web-1", "c4") == web1, "the returning pod has another address")

    story("A pool of two addresses is full; no address is freed on a guess. Once there is evidence that a pod has ended, its "
          "address is reclaimed and given out in one transaction.")  # fmt: skip
    small = json.loads(EXAMPLE.read_text())
    small["metadata"]["name"] = "small"
    small["spec"] = {"ipPoolSubs": [{"range": "10.20.0.1-10.20.0.2", "netmaskBits": 24}]}
    (demo.folder / "small.json").write_text(json.dumps(small))
    demo.run("ipam-ledger pool apply -f small.json")
    for name in ("job-1", "job-2"):
        demo.run(f"ipam-ledger allocate small --pod default/{name} --reason 'demo'")
    demo.cni("ADD", "job-3", "c9", pool="small", expect=1)
    demo.run("sh -c 'echo default/job-1 >> gone.txt'")
    demo.cni("ADD", "job-3", "c9", pool="small")

    story(
        "Who had this address? Now, and at any moment in the past; and a proof of it, checked without the database."
    )
    demo.run(f"ipam-ledger who-had {web0} --at {relaunched}")
    demo.run(f"ipam-ledger history {web0}")
    demo.run("ipam-ledger keys generate --key seal.key --name ledger.example.org/demo")
    demo.run("ipam-ledger seal --key seal.key --checkpoint checkpoint")
    demo.run("ipam-ledger prove 2 -o event-2.json")
    demo.run("ipam-ledger verify-proof event-2.json --key seal.key.pub")
    demo.run(f"ipam-ledger explain {web0}")
    demo.run("ipam-ledger pool list")

    story(
        "The ledger is the truth: replay it, compare it with the live state, then rebuild a second database from it."
    )
    demo.run("ipam-ledger verify")
    demo.run("ipam-ledger replay --into sqlite:///copy.db")
    demo.run("ipam-ledger --db sqlite:///copy.db verify")
    demo.run("ipam-ledger --db sqlite:///copy.db pool list")
    for question in ("pool list -o jsonl", "history -o jsonl"):
        here, there = (demo.quietly(f"ipam-ledger {db} {question}") for db in ("", "--db sqlite:///copy.db"))
        expect(here == there != "", f"the copy answers differently: {question}")
    story(
        f"Both are the same, event by event ({here.count(chr(10))} events). The demo took {time.monotonic() - started:.0f} s."
    )


if __name__ == "__main__":
    main()
