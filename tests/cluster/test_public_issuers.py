"""What users see of the issuers, with the rights and the policy of `deploy/`."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.names import DRIVER_NAMESPACE, PUBLIC_ISSUERS
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.oauth.public_issuers import ISSUERS_JSON, parse_public_issuers
from csidriver.core.refresh.state import RefreshContext
from csidriver.refresher.issuers_publisher import IssuersPublisher
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.ports import Ports
from csidriver.refresher.spool import Spool
from tests.cluster.account import Patch
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.cluster.installation import manifests
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NOBODY = "nobody-of-issuers"
WHERE = f"--namespace={DRIVER_NAMESPACE}"


class FastClock(SystemClock):
    """Passes a minute in some milliseconds."""

    def monotonic(self) -> float:
        return 10_000 * time.monotonic()


class Stop(threading.Event):
    """Waits for less than it is told to."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait((timeout or 0.0) / 100)


@pytest.fixture(scope="module")
def plane(cluster: Cluster) -> ControlPlane:
    apply(cluster.plane)
    cluster.plane.kubectl("create", "serviceaccount", NOBODY, WHERE)
    return cluster.plane


@pytest.fixture
def published(cluster: Cluster, plane: ControlPlane, tmp_path: Path) -> Iterator[Issuers]:
    """The issuers of a refresher that publishes them."""
    login = LoginSettings("cli", ("offline_access",))
    issuers = Issuers({"one": Issuer("one", "https://one.example", login=login)})
    store, stop = KubernetesStore(cluster.client()), Stop()
    ports = Ports(
        store,
        Spool(tmp_path),
        TokenEndpoints(),
        FastClock(),
        RefresherMetrics(CollectorRegistry()),
        lambda: True,
    )
    publisher = IssuersPublisher(ports, lambda: RefreshContext(issuers, "pod"))
    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=publisher.run, args=(stop,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        until(lambda: data(plane))
        yield issuers


def apply(plane: ControlPlane, *flags: str) -> None:
    (manifest,) = [m for m in manifests("ConfigMap") if m["metadata"]["name"] == PUBLIC_ISSUERS]
    plane.kubectl("apply", *flags, "--filename=-", stdin=json.dumps(manifest))


def data(plane: ControlPlane, kubeconfig: Path | None = None) -> Any:
    found = plane.kubectl(
        "get", "configmap", PUBLIC_ISSUERS, WHERE, "--output=json", kubeconfig=kubeconfig
    )
    return json.loads(found).get("data")


def test_any_authenticated_user_reads_them_and_no_other_config_map(
    plane: ControlPlane, published: Issuers
) -> None:
    nobody = plane.service_account(DRIVER_NAMESPACE, NOBODY)
    assert parse_public_issuers(data(plane, nobody)[ISSUERS_JSON]) == published
    plane.kubectl("create", "configmap", "other-of-issuers", WHERE)
    for command in (
        "get configmaps",
        "get configmap other-of-issuers",
        f"delete configmap {PUBLIC_ISSUERS}",
        f"label configmap {PUBLIC_ISSUERS} a=b",
    ):
        done = plane.try_kubectl(*command.split(), WHERE, kubeconfig=nobody)
        assert "forbidden" in done.stderr.lower()


@pytest.mark.parametrize(
    "change", [{ISSUERS_JSON: "{}"}, {"more": "x"}, {ISSUERS_JSON: None}, None]
)
def test_what_somebody_changed_is_restored(
    plane: ControlPlane, published: Issuers, change: Patch
) -> None:
    del published
    before = data(plane)
    patch = f"--patch={json.dumps({'data': change})}"
    plane.kubectl("patch", "configmap", PUBLIC_ISSUERS, WHERE, "--type=merge", patch)
    until(lambda: data(plane) == before)


@pytest.mark.parametrize("flags", [(), ("--server-side", "--force-conflicts")])
def test_applying_the_manifest_again_leaves_them(
    plane: ControlPlane, published: Issuers, flags: tuple[str, ...]
) -> None:
    del published
    before = data(plane)
    apply(plane, *flags)
    assert before is not None
    assert data(plane) == before
