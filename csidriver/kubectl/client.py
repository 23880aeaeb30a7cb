"""The cluster as kubectl reaches it: its contexts, credential plugins, proxies, impersonation.

A body goes through standard input, so no process list shows it. kubectl's log level stays 0,
whatever the user's defaults are: from 8 on it prints bodies.
"""

import json
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from csidriver.kubectl import program
from csidriver.kubectl.errors import KubectlFailed
from csidriver.kubectl.failures import to_error

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAMESPACE = "{.contexts[0].context.namespace}"
# kubectl's words where there is no kubeconfig; it then uses the ServiceAccount of its pod.
_NO_CONTEXT = "current-context must exist"


class Kubectl:
    """Runs kubectl. `global_options` are words such as `--context=name`, `--namespace=name`."""

    def __init__(self, global_options: Sequence[str] = ()) -> None:
        self._options = tuple(global_options)
        self._running: set[subprocess.Popen[bytes]] = set()

    def with_timeout(self, seconds: float) -> "Kubectl":
        """Return one whose requests take no longer, unless the user has chosen a time."""
        return Kubectl([f"--request-timeout={seconds:.0f}s", *self._options])

    def impersonating(self, user: str, group: str) -> "Kubectl":
        """Return one that asks in the name of another, for which the user needs the right."""
        kubectl = Kubectl([*self._options, f"--as={user}", f"--as-group={group}"])
        kubectl._running = self._running
        return kubectl

    def get(self, *arguments: str) -> Any:
        """Return objects as JSON. Of a Secret, its bytes come into this process: seldom needed."""
        return json.loads(self._run("get", *arguments, "--output=json"))

    def get_text(self, *arguments: str) -> str:
        """Return the output of `kubectl get` in the form that the arguments ask for."""
        return self._run("get", *arguments).decode(errors="replace")

    def create(self, manifest: Mapping[str, Any]) -> None:
        self._send(manifest, "create", *_namespace_of(manifest), "--filename=-")

    def try_create(self, manifest: Mapping[str, Any]) -> None:
        """Let the API server check an object without storing it; raise what `create` would."""
        where = _namespace_of(manifest)
        self._send(manifest, "create", *where, "--dry-run=server", "--filename=-")

    def patch(self, resource: str, name: str, namespace: str, patch: Mapping[str, Any]) -> None:
        """Change an object by a merge patch."""
        where = [f"--namespace={namespace}", "--type=merge", "--patch-file=/dev/stdin"]
        self._send(patch, "patch", resource, name, *where)

    def can_i(self, verb: str, resource: str, namespace: str, *flags: str) -> bool:
        """Return whether the user may do this; `resource` may be `secrets/name`."""
        where = f"--namespace={namespace}" if namespace else "--all-namespaces"
        command = self._command("auth", "can-i", verb, resource, where, *flags)
        done = program.run(command, running=self._running)
        answer = done.stdout.decode(errors="replace").split(maxsplit=1)[:1]
        if answer not in (["yes"], ["no"]):
            raise to_error(done.stderr)
        return answer == ["yes"]

    def watch_text(self, *arguments: str) -> Generator[str, None, None]:
        """Yield lines of `kubectl get --watch`, first for every object, in the form asked for.

        Close it, also after an error: kubectl runs as long as it is open.
        """
        flags = ["--watch", "--output-watch-events"]
        for line in self._lines("get", *arguments, *flags):
            yield line.decode(errors="replace").rstrip("\n")

    def namespace(self) -> str:
        """Return the namespace in force."""
        chosen = [o.partition("=")[2] for o in self._options if o.startswith("--namespace=")]
        return chosen[-1] if chosen else self._context_namespace

    def user(self) -> str:
        """Return who the cluster takes the user for."""
        output = "--output=jsonpath={.status.userInfo.username}"
        return self._run("auth", "whoami", output).decode(errors="replace").strip()

    def close(self) -> None:
        """End all calls and watches that still run."""
        for process in list(self._running):
            process.kill()

    @cached_property
    def _context_namespace(self) -> str:
        try:
            text = self._run("config", "view", "--minify", f"--output=jsonpath={_NAMESPACE}")
        except KubectlFailed as error:
            if _NO_CONTEXT not in str(error):
                raise
            return self._pod_namespace()
        return text.decode(errors="replace").strip() or "default"

    def _pod_namespace(self) -> str:
        try:
            return _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip()
        except OSError:
            return "default"

    def _command(self, *arguments: str) -> list[str]:
        return [program.find_kubectl(), "--v=0", *self._options, *arguments]

    def _run(self, *arguments: str) -> bytes:
        done = program.run(self._command(*arguments), running=self._running)
        if done.status != 0:
            raise to_error(done.stderr)
        return done.stdout

    def _send(self, body: Any, *arguments: str) -> None:
        # `--output=name`, as else the reply would bring the object.
        command = self._command(*arguments, "--output=name")
        done = program.run(command, json.dumps(body).encode(), self._running)
        if done.status != 0:
            raise to_error(done.stderr, body)

    def _lines(self, *arguments: str) -> Iterator[bytes]:
        try:
            yield from program.lines(self._command(*arguments), self._running)
        except KubectlFailed as error:
            raise to_error(str(error)) from None


def _namespace_of(manifest: Mapping[str, Any]) -> list[str]:
    namespace = manifest["metadata"].get("namespace")
    return [f"--namespace={namespace}"] if namespace else []
