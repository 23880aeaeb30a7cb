"""Fixtures of the suite that `make e2e` runs; session.py makes the cluster.

A test asks for `user`, a namespace of its own on a cluster with the driver, and for `issuer`,
the authorization server, which gives a fresh sign-in: `issuer.seed(CLIENT)`.
"""

import json
import os
import re
from collections.abc import Iterator

import pytest

from csidriver.demo.issuer import DEMO_CLIENT
from tests.e2e import readers
from tests.e2e.addresses import MACHINE
from tests.e2e.cluster import CLUSTER, Cluster
from tests.e2e.installation import install
from tests.e2e.readers import Reader
from tests.e2e.user_namespace import UserNamespace, new_user_namespace
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy

# It takes more than 20 minutes and the image of another commit: `make e2e-upgrade`.
collect_ignore = [] if os.environ.get("E2E_BEFORE") else ["test_upgrade.py"]

# What the README's user does comes first, on a cluster that has nothing yet.
_ORDER = ("test_readme.py", "test_image.py", "*", "test_disruption.py", "test_uninstall.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _ORDER.index(item.path.name if item.path.name in _ORDER else "*"))


@pytest.fixture(scope="session")
def e2e(pytestconfig: pytest.Config) -> Cluster:
    return pytestconfig.stash[CLUSTER]


@pytest.fixture(scope="session")
def issuer(e2e: Cluster) -> Iterator[ScriptedIssuer]:
    """The default issuer: access tokens live 20 s, every refresh token works once."""
    with _issuer(e2e, lifetime=20) as server:
        yield server


@pytest.fixture(scope="session")
def slow_issuer(e2e: Cluster) -> Iterator[ScriptedIssuer]:
    with _issuer(e2e, lifetime=300) as server:
        yield server


@pytest.fixture(scope="session")
def driver(e2e: Cluster, issuer: ScriptedIssuer, slow_issuer: ScriptedIssuer) -> Cluster:
    """The cluster with the driver, installed with the chart."""
    issuers = [
        {"name": "fast", "issuer": issuer.url, "default": True, "internal": True},
        {"name": "slow", "issuer": slow_issuer.url, "internal": True},
    ]
    # A node needs no right.
    install(e2e, f"issuers={json.dumps(issuers)},node.legacyRights=false")
    return e2e


@pytest.fixture(scope="session")
def witnesses(driver: Cluster, slow_issuer: ScriptedIssuer) -> list[Reader]:
    """Readers of tokens that live 300 s, on each node, through all tests but the README's."""
    user = new_user_namespace(driver, "witnesses")
    return readers.start(user, slow_issuer, named="slow", nodes=driver.own.node_names)


@pytest.fixture
def user(driver: Cluster, request: pytest.FixtureRequest) -> Iterator[UserNamespace]:
    """A namespace of the test's own, which is deleted after it."""
    if any("witnesses" in item.fixturenames for item in request.session.items):  # type: ignore[attr-defined]
        request.getfixturevalue("witnesses")
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    found = new_user_namespace(driver, name[:60].strip("-"))
    yield found
    driver.kubectl("delete", "namespace", found.name, "--wait=false")


def _issuer(e2e: Cluster, lifetime: float) -> ScriptedIssuer:
    assert e2e.own.nodes, "which skips the test on another cluster"
    address, policy = (MACHINE[0], 0), Policy(lifetime=lifetime)
    return ScriptedIssuer(clients=[DEMO_CLIENT], address=address, policy=policy)
