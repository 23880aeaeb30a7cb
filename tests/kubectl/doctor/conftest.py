from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubectl.doctor.healthy import HttpsIssuer, issuer_entry, prepare
from tests.kubectl.stand_in import StandIn


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpsIssuer]:
    with HttpsIssuer(tmp_path) as issuer:
        yield issuer


@pytest.fixture
def healthy(stand_in: StandIn, server: HttpsIssuer, fixed_time: float) -> StandIn:  # noqa: ARG001 - sets the time
    """A cluster in which nothing is wrong."""
    prepare(stand_in, server.ca_file.read_text(), issuer_entry(server.url))
    return stand_in
