"""The worst that tenants may put onto one node, and a plugin with the chart's memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from csidriver.config import NodeLimits
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.names import SourceRef
from csidriver.core.volume.template import MAX_TEMPLATE
from tests.cluster.controlplane import PROGRAMS, ControlPlane
from tests.cluster.noderole import NodeRole
from tests.cluster.test_open_files import LimitedNode
from tests.memory_cgroup import MemoryCgroup, memory_cgroup
from tests.node.plugin import NAMESPACE, companion, eventually, token

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]

VALUES = yaml.safe_load(
    (Path(__file__).parents[2] / "deploy/chart/values.yaml").read_text(encoding="utf-8")
)
LIMIT = int(VALUES["node"]["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
MOST = NodeLimits().secrets_per_node
OTHERS = range(1, MOST)
EMOJI = "\U0001f600"


@pytest.fixture
def limited() -> Iterator[MemoryCgroup]:
    with memory_cgroup("node", LIMIT) as cgroup:
        yield cgroup


@pytest.fixture
def full(
    limited: MemoryCgroup, control_plane: ControlPlane, tmp_path: Path
) -> Iterator[LimitedNode]:
    role = NodeRole(control_plane, tmp_path)
    node = LimitedNode(role, MOST)
    node.prefix, node.limits = limited.prefix, (1024, 8192)
    # The test's volumes are of one pod.
    whole = ("volumes-per-pod", "volumes-per-namespace", "secrets-per-namespace")
    node.flags = tuple(f"--{limit}={MOST}" for limit in whole)
    try:
        yield node
    finally:
        node.close()
        role.close()


def _write(node: LimitedNode, number: int, value: str, generation: int = 1) -> None:
    source = SourceRef(NAMESPACE, f"s-{number}")
    node.role.write_companion(companion(token(value), generation, source=source), source)


def _publish(node: LimitedNode, number: int) -> None:
    template = f"{number}-{EMOJI}".ljust(MAX_TEMPLATE - 3, "t") if number else "$(ACCESS_TOKEN)"
    node.publish(node.request(f"v{number}", {"secretName": f"s-{number}", "template": template}))


def test_a_node_with_all_that_is_allowed_survives_and_serves(
    limited: MemoryCgroup, full: LimitedNode
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _write(full, n, f"{n}-".ljust(MAX_ACCESS_TOKEN, "a")), OTHERS))
        _write(full, 0, "at-1")
        full.start()
        list(pool.map(lambda n: _publish(full, n), [0, *OTHERS]))
    for generation in (2, 3):
        _write(full, 0, f"at-{generation}", generation)
        eventually(lambda g=generation: full.content("v0") == f"at-{g}", "a new token", 60)  # type: ignore[misc]
        assert limited.kills == 0
        full.stop()
        full.start()
    _publish(full, MOST - 1)
    assert limited.kills == 0
