"""An upgrade from the commit E2E_BEFORE, outages, and a downgrade: `make e2e-upgrade`.

Pods of both nodes read 25 tokens that live 20 s, and 25 that live 300 s. Each test prints for how
long a pod has read expired tokens, and when all files had new ones. The tests build on each other.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.e2e import controllers
from tests.e2e.cluster import Cluster, until
from tests.e2e.images import BEFORE
from tests.e2e.installation import CHART, install
from tests.e2e.many_files import FilesReader, Secrets
from tests.e2e.node import Node
from tests.e2e.readers import is_clean
from tests.e2e.user_namespace import new_user_namespace
from tests.issuer.issuer import ScriptedIssuer
from tools.image import CLONE

_NAMESPACE = "--namespace=oauth2-csi"
_DAEMON_SET = "daemonset/oauth2-csi-node"
_BROKER = "deployment/oauth2-csi-broker"
_SECRETS = 25
_HELD_BACK = 600.0
_OUTAGE = 60.0
# Seconds in which a refresh token may be presented again.
_REUSE = 300
# Seconds that a process takes to start on a busy machine.
_START = 30.0
# Seconds until kubelet mounts the CAs of the first brokers, see docs/install.md.
_MOUNT = 120.0
# Seconds after an outage until all files have new tokens.
_RECOVERY = 60.0
_STRATEGIES = {
    "OnDelete": {"type": "OnDelete", "rollingUpdate": None},
    "RollingUpdate": {"type": "RollingUpdate"},
}
_KEEP = re.compile(r"`kubectl annotate (-A -l .*broker \S+) (helm.sh/resource-policy=keep)`")


@dataclass(slots=True)
class Event:
    """Something that happens, in epoch seconds. `late`: seconds in which expired tokens were read.

    A test sets `end`; `late` is the most that it allows of tokens that live 20 s, which have 10 s
    left when they are refreshed.
    """

    begin: float = field(default_factory=time.time)
    end: float = 0.0
    late: float = 0.0


@pytest.fixture(scope="session")
def driver(e2e: Cluster, issuer: ScriptedIssuer, slow_issuer: ScriptedIssuer) -> Cluster:
    """The cluster with the driver of the commit before."""
    issuers = []
    for name, server in (("fast", issuer), ("slow", slow_issuer)):
        # At a strict one a kill between its answer and the refresher's write costs a login.
        server.policy = replace(server.policy, grace=_REUSE)
        issuers.append({"name": name, "issuer": server.url, "internal": True})
        issuers[-1] |= {"default": name == "fast", "reuse": {"window": _REUSE}}
    install(e2e, f"issuers={json.dumps(issuers)},{image_value(BEFORE)}", chart_before(e2e))
    return e2e


@pytest.fixture(scope="module")
def fast(driver: Cluster, issuer: ScriptedIssuer) -> Secrets:
    """Secrets whose tokens live 20 s."""
    return Secrets(new_user_namespace(driver, "fast"), issuer, "fast", _SECRETS)


@pytest.fixture(scope="module")
def slow(driver: Cluster, slow_issuer: ScriptedIssuer) -> Secrets:
    """Secrets whose tokens live 300 s."""
    return Secrets(new_user_namespace(driver, "slow"), slow_issuer, "slow", _SECRETS)


@pytest.fixture(scope="module")
def of_fast(driver: Cluster, fast: Secrets) -> list[FilesReader]:
    """Readers of tokens that live 20 s, on each node."""
    fast.apply()
    return fast.read("reader", driver.own.node_names)


@pytest.fixture(scope="module")
def of_slow(driver: Cluster, slow: Secrets) -> list[FilesReader]:
    """Readers of tokens that live 300 s, on each node."""
    slow.apply()
    return slow.read("reader", driver.own.node_names)


@pytest.fixture
def event(
    of_fast: list[FilesReader],
    of_slow: list[FilesReader],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Event]:
    """What the test does; all files get new tokens after it, and there were no other bad reads."""
    found = Event()
    yield found
    renewed = until(
        "all tokens that live 20 s are new",
        lambda: all(reader.last_change() > found.end for reader in of_fast) and time.time(),
        _RECOVERY,
    )
    late = {reader.node: round(reader.late_seconds(found.begin), 1) for reader in of_fast}
    with capsys.disabled():
        after = renewed - found.end
        print(f"\n* {request.node.name}: {late} seconds late, all new {after:.1f} s after it")
    assert [reader.tally() for reader in of_slow if not reader.has_only_read_valid_tokens()] == []
    assert [
        t for t in (reader.tally() for reader in of_fast) if not is_clean(t | {"expired": 0})
    ] == []
    assert max(late.values()) <= found.late


@pytest.fixture
def ending(driver: Cluster, fast: Secrets, event: Event) -> Iterator[None]:
    """A pod on each node is asked to end, and goes on for 590 of its 600 seconds."""
    readers = fast.read("ending", driver.own.node_names, seconds_after_sigterm=_HELD_BACK - 10)
    for reader in readers:
        reader.delete()
    yield
    for totals in [reader.end(_HELD_BACK) for reader in readers]:
        assert is_clean(totals | {"expired": 0})
        assert totals["changes_since_sigterm"] > _HELD_BACK / 20
        assert sum(end - begin for begin, end in totals["late"]) <= event.late


@pytest.mark.usefixtures("ending")
def test_an_upgrade_while_one_node_is_held_back(driver: Cluster, event: Event) -> None:
    change_to(driver, CHART, driver.image)
    replace_plugins(driver)
    event.end, event.late = time.time(), _MOUNT


@pytest.mark.parametrize(("role", "late"), [("broker", 0), ("node", _START), ("refresher", _START)])
def test_a_role_is_killed_on_one_node_after_the_other(
    driver: Cluster, event: Event, role: str, late: float
) -> None:
    for node in driver.own.nodes:
        before = restarts(driver, role)
        assert node.kill_processes(f"oauth2-csi\0{role}\0") == 1
        until(f"{role} starts", lambda before=before: restarts(driver, role) > before)  # type: ignore[misc]
        driver.roll_out(_DAEMON_SET, *driver.names("deployments", _NAMESPACE))
    event.end, event.late = time.time(), late


def test_both_brokers_are_away_for_a_minute(driver: Cluster, event: Event) -> None:
    driver.kubectl("scale", _BROKER, _NAMESPACE, "--replicas=0")
    assert all(node.kill_processes("oauth2-csi\0broker\0") == 1 for node in driver.own.nodes)
    time.sleep(_OUTAGE)
    driver.kubectl("scale", _BROKER, _NAMESPACE, "--replicas=2")
    driver.roll_out(_BROKER)
    event.end, event.late = time.time(), _OUTAGE + _RECOVERY


def test_the_api_server_is_away_for_a_minute(driver: Cluster, event: Event) -> None:
    driver.own.plane.stop_api_server(kill=True)
    time.sleep(_OUTAGE)
    driver.own.plane.start_api_server()
    event.end, event.late = time.time(), _OUTAGE + _RECOVERY
    controllers.start(driver.own.plane)


@pytest.mark.usefixtures("ending")
def test_a_downgrade_while_one_node_is_held_back(driver: Cluster, event: Event) -> None:
    (kept,) = _KEEP.finditer((CLONE / "docs/install.md").read_text(encoding="utf-8"))
    objects = kept[1].split()
    driver.kubectl("annotate", *objects, kept[2])
    change_to(driver, chart_before(driver), BEFORE)
    replace_plugins(driver)
    driver.kubectl("delete", *objects)
    event.end, event.late = time.time(), _START


def restarts(cluster: Cluster, role: str) -> int:
    """Return how often containers of a role were started again."""
    pods = cluster.get("pods", f"--selector=app.kubernetes.io/component={role}", _NAMESPACE)
    statuses = [each for pod in pods["items"] for each in pod["status"]["containerStatuses"]]
    return sum(each["restartCount"] for each in statuses)


def chart_before(cluster: Cluster) -> Path:
    return cluster.own.before / "deploy/chart"


def image_value(name: str) -> str:
    """Return the chart's value for an image."""
    repository, _, tag = name.rpartition(":")
    return f"image={json.dumps({'repository': repository, 'tag': tag})}"


def change_to(cluster: Cluster, chart: Path, image: str) -> None:
    """Upgrade to a chart and an image; plugins are replaced only when somebody deletes them."""
    # Or the controller of DaemonSets would begin at once.
    cluster.own.plane.end("kube-controller-manager", kill=True)
    flags = ("--reset-then-reuse-values", "--set-json", image_value(image))
    cluster.helm("upgrade", "oauth2-csi", str(chart), _NAMESPACE, *flags)
    replace_when(cluster, "OnDelete")
    controllers.start(cluster.own.plane)


def replace_when(cluster: Cluster, strategy: str) -> None:
    """Tell the controller of DaemonSets when to replace a plugin."""
    patch = json.dumps({"spec": {"updateStrategy": _STRATEGIES[strategy]}})
    cluster.kubectl("patch", _DAEMON_SET, _NAMESPACE, f"--patch={patch}")


def replace_plugins(cluster: Cluster) -> None:
    """Replace the plugin of the first node at once, and the other one 10 minutes later."""
    first, second = cluster.own.nodes
    replace_plugin(cluster, first)
    cluster.roll_out(*cluster.names("deployments", _NAMESPACE))
    time.sleep(_HELD_BACK)
    replace_plugin(cluster, second)
    replace_when(cluster, "RollingUpdate")
    cluster.roll_out(_DAEMON_SET)


def replace_plugin(cluster: Cluster, node: Node) -> None:
    """Delete a node's plugin, and wait until the next one is ready."""
    select = ("--selector=app.kubernetes.io/component=node", _NAMESPACE)
    here = (*select, f"--field-selector=spec.nodeName={node.name}")
    (before,) = cluster.names("pods", *here)
    cluster.kubectl("delete", _NAMESPACE, before)

    def is_replaced() -> bool:
        after = cluster.names("pods", *here)
        return bool(after) and after != [before]

    until(f"{node.name} has another plugin", is_replaced)
    cluster.kubectl("wait", "--for=condition=Ready", "pods", *here, "--timeout=120s")
