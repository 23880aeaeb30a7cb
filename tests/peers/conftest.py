from collections.abc import Iterator

import pytest

from tests.peers.keycloak import Keycloak


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    with Keycloak() as server:
        yield server
        server.check_alive()
