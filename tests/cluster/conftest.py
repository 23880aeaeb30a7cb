import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def fragile_plane() -> Iterator[ControlPlane]:
    """Another one, for tests that stop it; they leave it running, as it was."""
    with contextlib.closing(ControlPlane()) as plane:
        plane.start()
        yield plane
