"""The strict issuer of the demo, as a fixture."""

from collections.abc import Iterator

import pytest

from csidriver.demo import families
from csidriver.demo.issuer import StrictIssuer
from tests.adapters.oauth.peer import APP, ODD, PUBLIC


@pytest.fixture
def strict() -> Iterator[StrictIssuer]:
    clients = [
        families.RegisteredClient(APP.client_id, APP.client_secret),
        families.RegisteredClient(ODD.client_id, ODD.client_secret),
        families.RegisteredClient(PUBLIC.client_id, None),
    ]
    with StrictIssuer(clients=clients) as running:
        yield running
