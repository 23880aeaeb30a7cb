"""A Kubernetes node in the machine's root file system: containerd, kubelet, kube-proxy, DNS.

For use from within the machine's process and network namespaces (machine.inside).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import urllib3

from csidriver.core.volume.mountinfo import Mount, parse
from tests.cluster.controlplane import ControlPlane
from tests.e2e import configuration
from tests.e2e.configuration import ADDRESS, NAME
from tools.programs import program

USERS = {
    f"system:node:{NAME}": "system:nodes",
    "system:kube-proxy": "system:node-proxiers",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 90.0


class Node:
    """`start` it beside a control plane; programs can be stopped and started again by name."""

    def __init__(self, plane: ControlPlane, cgroup: str, logs: Path) -> None:
        self._plane = plane
        self._cgroup = cgroup
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}

    @property
    def address(self) -> str:
        """The address at which pods reach servers of the machine."""
        return ADDRESS

    def prepare(self) -> None:
        """Network and files; the address exists from here on."""
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "cni0", "type", "bridge")
        self.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "cni0")
        self.run("ip", "link", "set", "cni0", "up")
        self.run("hostname", NAME)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._write("/etc/resolv.conf", f"nameserver {ADDRESS}\n")
        self._write("/etc/hosts", f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
        self._write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        self._write("/etc/containerd/config.toml", configuration.CONTAINERD)
        self._write("/etc/cni/net.d/10-pods.conflist", configuration.network())
        for name, value in configuration.SYSCTLS.items():
            stand_in = f"/run/sysctl/{name}"
            self._write(stand_in, f"{value}\n")
            self.run("mount", "--bind", stand_in, f"/proc/sys/{name}")
        for name in ("kubelet", "kube-proxy"):
            shutil.copy(program(name), self.path(f"/usr/local/bin/{name}"))

    def start_runtime(self, *archives: Path) -> None:
        """Start containerd and give it images."""
        self._run_service("containerd", "containerd")
        self._until("containerd answers", lambda: self.try_run("ctr", "version").returncode == 0)
        for archive in archives:
            self.run("ctr", "--namespace=k8s.io", "images", "import", str(archive))

    def start(self) -> None:
        """Start the rest and wait until the node is ready."""
        self._write("/etc/kubernetes/kubelet.json", configuration.kubelet(self._cgroup))
        self._write(
            "/etc/kubernetes/proxy.json", configuration.proxy(self._user("system:kube-proxy"))
        )
        self._write("/run/dns", "")
        self._run_service(
            "dns",
            *("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root"),
            *("--no-resolv", "--no-hosts"),
            *("--addn-hosts=/run/dns", "--local=/cluster.local/", f"--listen-address={ADDRESS}"),
            *("--bind-interfaces", "--pid-file=/run/dns.pid"),
        )
        self._run_service(
            "kubelet",
            *("kubelet", "--config=/etc/kubernetes/kubelet.json", f"--node-ip={ADDRESS}"),
            *(f"--hostname-override={NAME}", f"--kubeconfig={self._user(f'system:node:{NAME}')}"),
        )
        self._run_service("kube-proxy", "kube-proxy", "--config=/etc/kubernetes/proxy.json")
        # Before it has written its pid, SIGHUP would end it.
        self._until("the DNS server runs", self.path("/run/dns.pid").exists)
        threading.Thread(target=self._follow_services, daemon=True).start()
        self._until("the node is ready", self._is_ready)

    def restart(self, name: str) -> None:
        """Kill a program and start it again."""
        self.kill(name)
        self._run_service(name, *self._commands[name])

    def kill(self, name: str) -> None:
        """Kill a program."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def kill_processes(self, part: str) -> int:
        """Kill those with `part` in their command line, words ending in NUL; their number."""
        killed = 0
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if part in line.read_text(encoding="utf-8", errors="replace"):
                    os.kill(int(line.parent.name), signal.SIGKILL)
                    killed += 1
        return killed

    def path(self, path: str) -> Path:
        """Return a path of the node, as this process sees it."""
        return Path("/proc/1/root" + path)

    def mountinfo(self) -> str:
        """The mounts that kubelet and containerd see."""
        return Path("/proc/1/mountinfo").read_text(encoding="utf-8")

    def mounts(self, part: str) -> list[Mount]:
        """Return the mounts whose target has `part` in its path."""
        return [mount for mount in parse(self.mountinfo().splitlines()) if part in mount.target]

    def run(self, *command: str) -> str:
        """Run a command in the node's root file system; return its output."""
        done = self.try_run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; return the result, also of a failure."""
        return subprocess.run(  # noqa: S603 - commands of tests
            [*_ENTER, *command], env=_environment(), capture_output=True, text=True, check=False
        )

    def _run_service(self, name: str, *command: str) -> None:
        self._commands[name] = list(command)
        with (self._logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - a program of ours
                ["setpriv", "--pdeathsig=KILL", *_ENTER, *command],  # noqa: S607 - of util-linux
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _user(self, name: str) -> Path:
        return self._plane.kubeconfig_of(name)

    def _write(self, path: str, text: str) -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _until(self, description: str, check: Any) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not check():
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended, see {self._logs}"
            assert time.monotonic() < deadline, f"not within {TIMEOUT:.0f} s: {description}"
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        nodes = self._plane.api("GET", "/api/v1/nodes").get("items", [])
        conditions = [c for node in nodes for c in node["status"].get("conditions", [])]
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _follow_services(self) -> None:
        """Keep a name for every Service, as a cluster's DNS does."""
        hosts = ""
        pause = threading.Event()
        while not pause.wait(0.5):
            try:
                services = self._plane.api("GET", "/api/v1/services")["items"]
            except (urllib3.exceptions.HTTPError, KeyError, ValueError):
                continue
            found = configuration.hosts(services)
            if found != hosts:
                hosts = found
                self._write("/run/dns", hosts)
                os.kill(self._processes["dns"].pid, signal.SIGHUP)


_ENTER = ["nsenter", "--target=1", "--mount", "--root", "--wd", "--"]


def _environment() -> dict[str, str]:
    return {"PATH": _PATH, "HOME": "/root", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
