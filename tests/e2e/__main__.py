"""`make e2e`: a throw-away cluster on this machine, the driver in it, and the tests."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e import images, machine
from tools.debian import NODE, fetch_root
from tools.image import IMAGE
from tools.programs import HERE, cache, find
from tools.steps import Failed

CLONE = HERE.parent
LOGS = CLONE / "build/e2e"
_NEEDED = ("etcd", "helm", "kubectl", "kube-apiserver", "kube-controller-manager", "kube-proxy")
_NEEDED += ("kube-scheduler", "kubelet")


def main() -> int:
    """Run it all; the exit status of the tests."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(130))
    try:
        return run(sys.argv[1:])
    except Failed as error:
        print(f"make e2e: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make e2e: interrupted", file=sys.stderr)
        return 130


def run(arguments: list[str]) -> int:
    """Images, machine, cluster and tests, which get `arguments`."""
    if os.geteuid() != 0:
        raise Failed("root is needed, for a cluster of this machine's own; or E2E_EXISTING=1")
    if missing := [name for name in _NEEDED if find(name) is None]:
        raise Failed(f"{', '.join(missing)} missing; run `make tools`")
    began = time.monotonic()
    root = fetch_root(NODE)
    name = os.environ.get("IMAGE") or IMAGE
    print("* building the image", flush=True)
    archives = images.archives(name)
    print(f"* {time.monotonic() - began:4.0f} s  the image is built", flush=True)
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    try:
        with machine.running(root, [images.folder(), cache(os.environ), CLONE]) as (here, first):
            command = [sys.executable, "-m", "tests.e2e.session", f"--name={here.name}"]
            command += [f"--memory={here.memory}", f"--logs={LOGS}", f"--image={name}"]
            command += [f"--archive={archive}" for archive in archives]
            tests = arguments or ["tests/e2e"]
            inner = ["setpriv", "--pdeathsig=KILL", *machine.inside(first, command), *tests]
            # In a session of its own: an interrupt is for us, and we end the machine.
            with subprocess.Popen(inner, cwd=CLONE, start_new_session=True) as process:  # noqa: S603
                return process.wait()
    finally:
        pass


if __name__ == "__main__":
    sys.exit(main())
