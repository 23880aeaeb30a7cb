import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.refresh.source import Client
from tests.cluster.controlplane import PROGRAMS
from tests.peers.keycloak import CLIENT, Keycloak, Realm
from tests.peers.rig import Rig
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


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    with contextlib.ExitStack() as rigs:

        def build(realm: Realm, client: Client = CLIENT, **fields: Any) -> Rig:
            folder = tmp_path / realm.url.rpartition("/")[2]
            folder.mkdir()
            rig = rigs.enter_context(Rig(folder, realm.url, client, **fields))
            rig.start()
            return rig

        yield build
