"""The end of a refresh token: docs/protocol.md section 6."""

from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.refresh import effects
from csidriver.core.refresh.new_tokens import refresh_expiry
from csidriver.core.status import TokenWarning
from tests.core.refresh.grants import ADOPTED, token_document
from tests.core.refresh.virtual_cluster import Process, VirtualCluster
from tests.core.refresh.virtual_server import START

DAY = 86400.0
EXPIRING = TokenWarning.REFRESH_TOKEN_EXPIRING.value


@pytest.fixture
def ending(cluster: VirtualCluster) -> Process:
    """A token that lives for six hours, of a login that ends 30 days from now."""
    cluster.server.lifetime = 6 * 3600.0
    cluster.server.more = lambda now: {"refresh_expires_in": int(START + 30 * DAY - now)}
    process = Process(cluster)
    process.reconcile()
    return process


def events(cluster: VirtualCluster) -> int:
    return cluster.reasons().count(EXPIRING)


def test_a_login_that_ends_is_announced_a_week_a_day_and_an_hour_ahead(ending: Process) -> None:
    cluster = ending.cluster
    for days, times in ((23, 1), (29, 2), (30 - 1 / 24, 3)):
        ending.run_for(START + days * DAY - 60 - cluster.now)
        assert events(cluster) == times - 1
        ending.run_for(120)
        assert (events(cluster), cluster.warning()) == (times, EXPIRING)
    messages = [e.message for e in cluster.done if isinstance(e, effects.EmitEvent)]
    assert "2027-02-14T07:59:59Z" in messages[-1]
    assert messages[-1].endswith("; run: kubectl oauth2-csi login hello-token -n physics")


@pytest.mark.parametrize("slides", [1800.0, 2.0**63 - 1], ids=["idle", "never"])
def test_an_end_that_moves_with_every_refresh_concerns_nobody(
    ending: Process, slides: float
) -> None:
    """Keycloak's idle time-out is half an hour; some servers say "never" by a large number."""
    cluster = ending.cluster
    cluster.server.more = lambda _: {"refresh_expires_in": slides}
    ending.login_as("bob")
    assert (cluster.grant().refresh_expires_at == 0) is (slides > DAY), "it can be read"
    ending.restarted().run_for(3 * DAY)
    assert (events(cluster), cluster.warning(), cluster.status()) == (0, "", "Ready")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        pytest.param({}, (0.0, True), id="a new token without a word"),
        pytest.param({"refresh_expires_in": 2000}, (4000.0, True), id="moved on"),
        pytest.param({"refresh_expires_in": 1002}, (3002.0, False), id="fixed"),
        pytest.param({"refresh_token_expires_in": 1002}, (3002.0, False), id="GitHub"),
        pytest.param(
            {"refresh_expires_in": None, "refresh_token_expires_in": 10}, (2010.0, False), id="both"
        ),
        pytest.param({"refresh_token": None}, (3000.0, False), id="its last word stands"),
    ],
)
def test_what_a_reply_says(said: Any, wanted: tuple[float, bool]) -> None:
    before = replace(ADOPTED, issued_at=1000.0, refresh_expires_at=3000.0)
    reply = token_document(**{"refresh_token": "new"} | said)
    assert refresh_expiry(before, reply, 2000.0) == wanted
