from collections.abc import Iterator

import pytest

from csidriver.demo import families
from tests.adapters.oauth.peer import APP, ODD, PUBLIC
from tests.issuer.issuer import ScriptedIssuer


@pytest.fixture
def strict() -> Iterator[ScriptedIssuer]:
    clients = [
        families.RegisteredClient(APP.client_id, APP.client_secret),
        families.RegisteredClient(ODD.client_id, ODD.client_secret),
        families.RegisteredClient(PUBLIC.client_id, None),
    ]
    with ScriptedIssuer(clients=clients) as running:
        yield running
