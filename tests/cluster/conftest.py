import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.thief import KUBELETS, Thief


@pytest.fixture(scope="session")
def thief() -> Iterator[Thief]:
    """Root on a node of a control plane of its own; nodes have no legacyRights."""
    with contextlib.closing(ControlPlane(users=KUBELETS)) as plane:
        plane.start()
        yield Thief(plane, "node.legacyRights=false")


@pytest.fixture(scope="session")
def stolen(thief: Thief) -> str:
    """The token of the thief's node plugin, as his kubelet gets it."""
    done = thief.plugin_token("a")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
