"""A real kube-apiserver with its etcd on loopback; no other part of a cluster."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from csidriver.listener import host_and_port
from tests.cluster.installation import RIGHTS, Manifest, manifests
from tests.cluster.kubectl import Kubectl, write_kubeconfig
from tests.reserved_port import reserve_port
from tools.programs import program

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
TIMEOUT = 60.0


class ControlPlane:
    """kube-apiserver and etcd; `close` stops both and removes all files.

    `flags` are further flags of kube-apiserver at its next start. `address` is where it serves.
    `users` are names with their group; each gets a kubeconfig. All files are below `folder`.
    """

    def __init__(
        self,
        flags: Sequence[str] = (),
        *,
        address: str = "127.0.0.1",
        users: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        # etcd syncs each write.
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.root = Path(tempfile.mkdtemp(prefix="cp", dir=folder or memory))
        self.flags = tuple(flags)
        self.address = address
        self._users = {"admin": "system:masters", **(users or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reserved = [reserve_port() for _ in range(3)]
        self._etcd_port, self._peer_port, self.port = (s.getsockname()[1] for s in self._reserved)
        self.kubeconfig = self.kubeconfig_of("admin")
        self.admin = Kubectl(self.kubeconfig, self.root / "kubectl")
        self.ca = self.root / "certs/apiserver.crt"

    @property
    def server(self) -> str:
        return f"https://{host_and_port((self.address, self.port))}"

    @property
    def _etcd(self) -> str:
        return f"http://127.0.0.1:{self._etcd_port}"

    def kubeconfig_of(self, user: str) -> Path:
        return self.root / f"{user.replace(':', '-')}.kubeconfig"

    @property
    def authorization(self) -> str:
        return f"Bearer {_token('admin')}"

    def start(self) -> None:
        _write_key(self.root / "sa.key")
        rows = [f'{_token(user)},{user},{user},"{group}"' for user, group in self._users.items()]
        (self.root / "tokens.csv").write_text("\n".join(rows) + "\n")
        for user in self._users:
            write_kubeconfig(self.kubeconfig_of(user), self.server, self.ca, _token(user))
        peer = f"http://127.0.0.1:{self._peer_port}"
        self.run(
            "etcd",
            f"--data-dir={self.root}/etcd",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        self.start_api_server()

    def start_api_server(self) -> None:
        services = "fd00:10:96::/112" if ":" in self.address else "10.0.0.0/24"
        self.run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--cert-dir={self.root}/certs",
            f"--token-auth-file={self.root}/tokens.csv",
            f"--service-account-issuer={self.server}",
            f"--service-account-key-file={self.root}/sa.key",
            f"--service-account-signing-key-file={self.root}/sa.key",
            f"--service-cluster-ip-range={services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--endpoint-reconciler-type=none",
            # Without this flag a stop waits a minute for watches over HTTP/1.1.
            "--shutdown-watch-termination-grace-period=1s",
            *self.flags,
        )
        deadline = time.monotonic() + TIMEOUT
        pause = threading.Event()
        while not self._ready():
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
            assert time.monotonic() < deadline, f"not ready:\n{self.log('kube-apiserver')}"
            pause.wait(0.05)

    def stop_api_server(self, *, kill: bool = False) -> None:
        self.end("kube-apiserver", kill=kill)

    def compact(self) -> None:
        """Let etcd drop old revisions, as the API server does every five minutes."""
        version = self.api("GET", "/api/v1/secrets?limit=1")["metadata"]["resourceVersion"]
        order = json.dumps({"revision": version, "physical": True})
        with urllib3.PoolManager() as pool:
            address = f"{self._etcd}/v3/kv/compaction"
            assert pool.request("POST", address, body=order).status == 200

    def close(self) -> None:
        for name in reversed(list(self._processes)):
            self.end(name, kill=True)
        for reserved in self._reserved:
            reserved.close()
        shutil.rmtree(self.root)

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        return self.admin.run(*arguments, stdin=stdin, kubeconfig=kubeconfig)

    def try_kubectl(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.admin.attempt(*arguments, stdin=stdin, kubeconfig=kubeconfig)

    def install(self, *kinds: str) -> None:
        """Apply the objects of some kinds of `deploy/install.yaml`, by default rights."""
        self.apply_objects(manifests(*(kinds or RIGHTS)))

    def apply_objects(self, items: Sequence[Manifest], *flags: str) -> None:
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.kubectl("apply", "--filename=-", *flags, stdin=content)

    def service_account(self, namespace: str, name: str) -> Path:
        token = self.kubectl("create", "token", name, f"--namespace={namespace}").strip()
        path = self.root / f"{namespace}.{name}.kubeconfig"
        write_kubeconfig(path, self.server, self.ca, token)
        return path

    def api(
        self, method: str, path: str, body: Any = None, content_type: str = "", token: str = ""
    ) -> Any:
        """Send one request as administrator, or with a token; return the JSON of any response."""
        headers = {"Authorization": f"Bearer {token}" if token else self.authorization}
        headers["Content-Type"] = content_type or "application/json"
        with urllib3.PoolManager(ca_certs=str(self.ca)) as pool:
            payload = None if body is None else json.dumps(body)
            return pool.request(method, self.server + path, body=payload, headers=headers).json()

    def make_namespace_again(self, name: str) -> None:
        """Delete a namespace and its objects, as controllers would, and create it again."""
        path = f"/api/v1/namespaces/{name}"
        for resource in ("secrets", "configmaps", "events"):
            self.api("DELETE", f"{path}/{resource}")
        deleted = self.api("DELETE", path)
        self.api("PUT", f"{path}/finalize", {**deleted, "spec": {"finalizers": []}})
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        created = self.api("POST", "/api/v1/namespaces", manifest)
        assert created["metadata"]["uid"] != deleted["metadata"]["uid"], created

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")[-4000:]

    def run(self, name: str, *flags: str) -> None:
        # A killed test run must not leave its servers behind.
        command = ["setpriv", "--pdeathsig", "KILL", str(program(name)), *flags]
        with (self.root / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - a program of ours
                command, stdout=log, stderr=log, cwd=self.root, env=_environment()
            )

    def end(self, name: str, *, kill: bool) -> None:
        """Stop or kill a program; harmless if it does not run."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(TIMEOUT)

    def _ready(self) -> bool:
        if not self.ca.exists():
            return False
        try:
            with urllib3.PoolManager(ca_certs=str(self.ca), retries=False) as pool:
                headers = {"Authorization": self.authorization}
                return pool.request("GET", f"{self.server}/readyz", headers=headers).status == 200
        except urllib3.exceptions.HTTPError:
            return False


def allowed(plane: ControlPlane, token: str, namespace: str) -> set[tuple[str, str]]:
    """All that the owner of a token may do in a namespace: what, and the verb."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = plane.api("POST", path, {"spec": {"namespace": namespace}}, token=token)["status"]
    return {
        (f"{plural}/{name}" if name else plural, verb)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for plural in [f"{resource}.{group}" if group else resource]
        for name in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }


def _token(user: str) -> str:
    return f"{user.replace(':', '-')}-of-a-test"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
