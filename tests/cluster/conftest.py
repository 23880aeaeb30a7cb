import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def fragile_plane() -> Iterator[ControlPlane]:
    """A second control plane for tests that stop it; they must start it again."""
    with contextlib.closing(ControlPlane()) as plane:
        plane.start()
        yield plane
