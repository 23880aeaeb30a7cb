"""The commands of docs/migration.md."""

import base64
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from csidriver.core.annotations import GRANT_SECRET_TYPE, IS_TOKEN
from csidriver.core.names import DRIVER_NAMESPACE, SourceRef
from tests.cluster.cluster import Cluster
from tools.programs import program

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

PAGE = Path(__file__).parents[2] / "docs/migration.md"
SOURCE = SourceRef("physics", "hello-token")
SEED, LIVE = '{"refresh_token": "seed"}', '{"refresh_token": "live"}'


def put(cluster: Cluster, namespace: str, name: str, **fields: object) -> None:
    metadata = {"name": name, "annotations": {IS_TOKEN: "true"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **fields}
    cluster.plane.api("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)


def run_script(cluster: Cluster) -> "subprocess.CompletedProcess[str]":
    (block,) = re.findall(r"^   ```sh\n(.*?)^   ```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = f"{program('kubectl').parent}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.plane.kubeconfig), "PATH": path}
    command = ["/bin/sh", "-c", textwrap.dedent(block)]
    return subprocess.run(  # noqa: S603 - the script of the page
        command, env=environment, capture_output=True, text=True, check=False
    )


def stored(cluster: Cluster) -> dict[str, str]:
    path = f"/api/v1/namespaces/{SOURCE.namespace}/secrets/{SOURCE.name}"
    data = cluster.plane.api("GET", path)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_rolling_back_brings_the_live_document_into_the_secret(cluster: Cluster) -> None:
    cluster.reset_namespaces(SOURCE.namespace)
    data = {"oauth": SEED, "clientID": "my-app"}
    put(cluster, SOURCE.namespace, SOURCE.name, stringData=data)
    done = run_script(cluster)
    assert done.returncode != 0
    assert SOURCE.grant in done.stderr, "there is none"
    assert stored(cluster) == data
    grant = {"type": GRANT_SECRET_TYPE, "stringData": {"document": LIVE, "clientID": "my-app"}}
    put(cluster, DRIVER_NAMESPACE, SOURCE.grant, **grant)
    for patched in (True, False):
        done = run_script(cluster)
        assert (done.returncode, done.stderr) == (0, "")
        assert stored(cluster) == {"oauth": LIVE, "clientID": "my-app"}
        assert ("patched" in done.stdout) is patched
