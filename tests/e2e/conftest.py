"""Fixtures of the suite that `make e2e` runs; session.py makes the cluster.

A test asks for `tenant`, a namespace of its own on a cluster with the driver, and for `issuer`,
the authorization server, which gives a fresh sign-in: `issuer.seed(CLIENT)`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.demo.families import Policy
from csidriver.demo.issuer import DEMO_CLIENT, StrictIssuer
from tests.e2e.cluster import CLUSTER, Cluster
from tests.e2e.node import ADDRESS
from tests.e2e.tenant import Tenant

CHART = Path(__file__).parents[2] / "deploy/chart"
# What the README's user does comes first, on a cluster that has nothing yet.
_ORDER = ("test_readme.py", "test_image.py", "*", "test_disruption.py", "test_uninstall.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by `_ORDER`."""
    items.sort(
        key=lambda item: _ORDER.index(item.path.name if item.path.name in _ORDER else "*")
    )


@pytest.fixture(scope="session")
def e2e(pytestconfig: pytest.Config) -> Cluster:
    """The cluster."""
    return pytestconfig.stash[CLUSTER]


@pytest.fixture(scope="session")
def issuer() -> Iterator[StrictIssuer]:
    """The default issuer: access tokens live 20 s, every refresh token works once."""
    with StrictIssuer(clients=[DEMO_CLIENT], address=(ADDRESS, 0)) as server:
        yield server


@pytest.fixture(scope="session")
def slow_issuer() -> Iterator[StrictIssuer]:
    """The issuer `slow`: access tokens live 300 s."""
    policy = Policy(lifetime=300)
    with StrictIssuer(clients=[DEMO_CLIENT], address=(ADDRESS, 0), policy=policy) as server:
        yield server


@pytest.fixture(scope="session")
def driver(e2e: Cluster, issuer: StrictIssuer, slow_issuer: StrictIssuer) -> Cluster:
    """The cluster with the driver, installed with the chart as docs/operations.md says."""
    e2e.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "oauth2-csi",
                "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            },
        }
    )
    issuers = [
        {"name": "fast", "issuer": issuer.url, "default": True, "internal": True},
        {"name": "slow", "issuer": slow_issuer.url, "internal": True},
    ]
    values = f"issuers={json.dumps(issuers)}"
    e2e.helm("install", "oauth2-csi", str(CHART), "--namespace=oauth2-csi", "--set-json", values)
    e2e.roll_out("daemonset/oauth2-csi-node")
    e2e.roll_out("deployment/oauth2-csi-refresher", "deployment/oauth2-csi-webhook")
    return e2e


@pytest.fixture
def tenant(driver: Cluster, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    """A namespace of the test's own, which is deleted after it."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:50].strip("-")
    driver.kubectl("create", "namespace", name)
    driver.kubectl(
        *("wait", "--for=create", "serviceaccount/default", "--timeout=60s"),
        f"--namespace={name}",
    )
    yield Tenant(driver, name)
    driver.kubectl("delete", "namespace", name, "--wait=false")
