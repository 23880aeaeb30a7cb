"""An upgrade from the commit E2E_BEFORE, and a downgrade: `make e2e-upgrade`.

Pods of both nodes read tokens that live 300 s. The plugin of the second node is replaced 10 minutes
after the first one. The second test builds on the first.
"""

import json
import re
import time
from pathlib import Path

import pytest

from tests.e2e import controllers, readers
from tests.e2e.cluster import Cluster, until
from tests.e2e.images import BEFORE
from tests.e2e.installation import CHART, install
from tests.e2e.node import Node
from tests.e2e.readers import Reader
from tests.e2e.user_namespace import new_user_namespace
from tests.issuer.issuer import ScriptedIssuer
from tools.image import CLONE

_NAMESPACE = "--namespace=oauth2-csi"
_DAEMON_SET = "daemonset/oauth2-csi-node"
_HELD_BACK = 600.0
_KEEP = re.compile(r"`kubectl annotate (-A -l .*broker \S+) (helm.sh/resource-policy=keep)`")


@pytest.fixture(scope="module")
def all_readers(e2e: Cluster, slow_issuer: ScriptedIssuer) -> list[Reader]:
    """Readers on each node, whose tokens come by the driver of the commit before."""
    issuer = {"name": "slow", "issuer": slow_issuer.url, "default": True, "internal": True}
    install(e2e, f"issuers={json.dumps([issuer])},{image_value(BEFORE)}", chart_before(e2e))
    user = new_user_namespace(e2e, "readers")
    return readers.start(user, slow_issuer, nodes=e2e.own.node_names)


def assert_all_read_on(found: list[Reader], issuer: ScriptedIssuer) -> None:
    readers.wait_for_next_token(found, seconds=240)
    assert [reader.tally() for reader in found if not reader.has_only_read_valid_tokens()] == []
    assert issuer.max_presentations() == 1


def test_an_upgrade_while_one_node_is_held_back(
    e2e: Cluster, all_readers: list[Reader], slow_issuer: ScriptedIssuer
) -> None:
    change_to(e2e, CHART, e2e.image)
    replace_plugins(e2e)
    assert_all_read_on(all_readers, slow_issuer)


def test_a_downgrade_while_one_node_is_held_back(
    e2e: Cluster, all_readers: list[Reader], slow_issuer: ScriptedIssuer
) -> None:
    (kept,) = _KEEP.finditer((CLONE / "docs/install.md").read_text(encoding="utf-8"))
    objects = kept[1].split()
    e2e.kubectl("annotate", *objects, kept[2])
    change_to(e2e, chart_before(e2e), BEFORE)
    replace_plugins(e2e)
    e2e.kubectl("delete", *objects)
    assert_all_read_on(all_readers, slow_issuer)


def chart_before(cluster: Cluster) -> Path:
    return cluster.own.before / "deploy/chart"


def image_value(name: str) -> str:
    repository, _, tag = name.rpartition(":")
    return f"image={json.dumps({'repository': repository, 'tag': tag})}"


def change_to(cluster: Cluster, chart: Path, image: str) -> None:
    """Upgrade to a chart and an image; plugins are replaced only when somebody deletes them."""
    # Or the controller of DaemonSets would begin at once.
    cluster.own.plane.end("kube-controller-manager", kill=True)
    flags = ("--reset-then-reuse-values", "--set-json", image_value(image))
    cluster.helm("upgrade", "oauth2-csi", str(chart), _NAMESPACE, *flags)
    replace_when(cluster, "OnDelete", rollingUpdate=None)
    controllers.start(cluster.own.plane)


def replace_when(cluster: Cluster, strategy: str, **fields: None) -> None:
    patch = json.dumps({"spec": {"updateStrategy": {"type": strategy, **fields}}})
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
    select = ("--selector=app.kubernetes.io/component=node", _NAMESPACE)
    here = (*select, f"--field-selector=spec.nodeName={node.name}")
    (before,) = cluster.names("pods", *here)
    cluster.kubectl("delete", _NAMESPACE, before)

    def is_replaced() -> bool:
        after = cluster.names("pods", *here)
        return bool(after) and after != [before]

    until(f"{node.name} has another plugin", is_replaced)
    cluster.kubectl("wait", "--for=condition=Ready", "pods", *here, "--timeout=120s")
