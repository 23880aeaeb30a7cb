from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.controlplane import PROGRAMS
from tests.peers.keycloak import Keycloak
from tools.programs import find


@pytest.fixture(scope="session")
def keycloak(request: pytest.FixtureRequest) -> Iterator[Keycloak]:
    """A Keycloak that trusts the API server of the tests, if `make tools` brought one."""
    plane: Any = None
    if all(find(name) for name in PROGRAMS):
        plane = request.getfixturevalue("control_plane")
    with Keycloak(trusted=plane and plane.ca) as server:
        yield server
        server.check_alive()
