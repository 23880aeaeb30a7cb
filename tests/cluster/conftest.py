from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real API server for all tests; each makes namespaces of its own."""
    plane = ControlPlane()
    try:
        plane.start()
        yield plane
    finally:
        plane.close()
