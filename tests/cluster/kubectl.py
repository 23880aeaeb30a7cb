"""kubectl with a kubeconfig."""

import json
import subprocess
from pathlib import Path

from tools.programs import program


class Kubectl:
    """Runs kubectl with a kubeconfig; `cache` is its cache folder."""

    def __init__(self, kubeconfig: Path, cache: Path) -> None:
        self.kubeconfig = kubeconfig
        self._cache = cache

    def run(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        done = self.attempt(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def attempt(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - a program of ours
            self.command(*arguments, kubeconfig=kubeconfig),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        flags = [f"--kubeconfig={kubeconfig or self.kubeconfig}", f"--cache-dir={self._cache}"]
        return [str(program("kubectl")), *flags, *arguments]


def write_kubeconfig(path: Path, server: str, ca: Path, token: str) -> None:
    cluster = {"server": server, "certificate-authority": str(ca)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
