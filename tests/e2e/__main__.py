"""`make e2e`: a throw-away cluster on this machine, the driver in it, and the tests.

With E2E_EXISTING=1 the cluster of KUBECONFIG instead, which has the image IMAGE already; what
needs a machine of our own is skipped then.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e import images, machine
from tests.e2e.cluster import Cluster
from tests.e2e.failure_reports import FailureReportPlugin
from tools.debian import NODE, fetch_root
from tools.image import CLONE, IMAGE
from tools.programs import find
from tools.steps import Failed

LOGS = CLONE / "build/e2e"
_NEEDED = (
    *("etcd", "helm", "kubectl", "kube-apiserver", "kube-controller-manager", "kube-proxy"),
    *("kube-scheduler", "kubelet"),
)


def main() -> int:
    # A shell starts what runs in the background with interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(130))
    tests = sys.argv[1:]
    if not any(Path(argument.split("::")[0]).exists() for argument in tests):
        tests.append("tests/e2e")
    os.environ["E2E_CLUSTER"] = "1"  # for tests/conftest.py
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    try:
        status = on_existing(tests) if os.environ.get("E2E_EXISTING") == "1" else on_own(tests)
    except Failed as error:
        print(f"make e2e: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make e2e: interrupted, and everything is removed", file=sys.stderr)
        return 130
    if status != 0:
        print(f"* logs, events and descriptions are in {LOGS}", flush=True)
    return status


def on_existing(tests: list[str]) -> int:
    if not (config := os.environ.get("KUBECONFIG")):
        raise Failed("E2E_EXISTING=1 needs KUBECONFIG")
    if find("kubectl") is None:
        raise Failed("kubectl missing; run `make tools`")
    kubectl = Kubectl(Path(config), LOGS / "kubectl")
    cluster = Cluster(kubectl, os.environ.get("IMAGE") or IMAGE)
    return int(
        pytest.main(["-p", "no:xdist", *tests], plugins=[FailureReportPlugin(cluster, LOGS)])
    )


def on_own(tests: list[str]) -> int:
    """Build the image, start a machine, and run session.py in it."""
    if os.geteuid() != 0:
        raise Failed("root is needed for a cluster of this machine's own; or set E2E_EXISTING=1")
    if missing := [name for name in _NEEDED if find(name) is None]:
        raise Failed(f"{', '.join(missing)} missing; run `make tools`")
    began = time.monotonic()
    root = fetch_root(NODE)
    name = os.environ.get("IMAGE") or IMAGE
    with machine.temporary_machine() as here:
        print(f"* building {name}", flush=True)
        archives = images.stand_ins()
        if commit := os.environ.get("E2E_BEFORE"):
            tree = here.disk / "before"
            images.check_out(commit, tree)
            archive = here.disk / "image-before.tar"
            archives.append(images.build_image(images.BEFORE, archive, tree))
        archives.append(images.build_image(name, here.disk / "image.tar"))
        print(f"* {time.monotonic() - began:4.0f} s  the image is built", flush=True)
        first = here.start(root)
        command = [sys.executable, "-m", "tests.e2e.session", f"--name={here.name}"]
        command += [f"--root={root}", f"--disk={here.disk}", f"--memory={here.memory}"]
        command += [f"--logs={LOGS}", f"--image={name}"]
        command += [f"--archive={archive}" for archive in archives]
        inner = ["setpriv", "--pdeathsig=KILL", *machine.inside(first, [*command, *tests])]
        # In a session of its own: an interrupt is for us, and we end the machine.
        with subprocess.Popen(inner, cwd=CLONE, start_new_session=True) as process:  # noqa: S603
            try:
                return process.wait()
            finally:
                here.stop()


if __name__ == "__main__":
    sys.exit(main())
