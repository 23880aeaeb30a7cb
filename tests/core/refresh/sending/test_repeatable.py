"""Tokens of client_credentials in virtual time (docs/protocol.md 10)."""

import contextlib
import itertools
import json
from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.refresh import effects
from csidriver.core.refresh.schedule import lead_time
from tests.core.refresh.hooks import Crashed
from tests.core.refresh.sending.sources import OPEN, forms, process, put_client, served
from tests.core.refresh.virtual_cluster import LIFE, REF, VirtualCluster
from tests.core.refresh.virtual_server import LOST_AFTER, START, answer

NEVER_USED = (
    *(effects.SpoolWrite, effects.RequestToken, effects.Introspect, effects.Probe),
    *(effects.Nonce, effects.TakeLateReply),
)


@pytest.fixture
def cluster() -> VirtualCluster:
    cluster = VirtualCluster()
    put_client(cluster)
    return cluster


class TestTheQuietLife:
    def test_a_client_gets_a_token_at_once(self, cluster: VirtualCluster) -> None:
        put_client(cluster, scope=" a  b ", audience="x y", resource="https://r.example", params="")
        process(cluster).reconcile()
        pairs = [("scope", "a b"), ("audience", "x"), ("audience", "y")]
        wanted = [("grant_type", "client_credentials"), *pairs, ("resource", "https://r.example")]
        assert forms(cluster) == [wanted]
        assert served(cluster) == "issued-1"
        assert cluster.status() == "Ready"
        assert cluster.grant().expires_at == START + LIFE
        data = cluster.source().data
        assert json.loads(data["oauth"].reveal())["access_token"] == "issued-1"
        assert data["clientSecret"].reveal() == "s3cret"

    def test_it_is_renewed_in_time_for_a_day(self, cluster: VirtualCluster) -> None:
        running = process(cluster)
        running.reconcile()
        running.run_for(86400)
        times = [at for at, _, _ in cluster.server.forms]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert 27 <= len(times) <= 34
        assert max(gaps) <= LIFE - lead_time(LIFE)
        assert served(cluster) == f"issued-{len(times)}"
        assert cluster.count(*NEVER_USED) == 0
        patches = [e for e in cluster.done if isinstance(e, effects.PatchSecret)]
        assert sum(e.base.name == REF.grant for e in patches) == len(times)

    def test_a_refresh_token_in_the_reply_is_dropped(self, cluster: VirtualCluster) -> None:
        reply = {"access_token": "a", "expires_in": LIFE, "refresh_token": "planted-rt"}
        cluster.server.script.append(answer(200, reply | {"refresh_expires_in": 60}))
        process(cluster).reconcile()
        assert "planted-rt" not in cluster.grant().document.to_json().reveal()
        assert cluster.grant().refresh_expires_at == 0
        assert served(cluster) == "a"


class TestFailures:
    @pytest.mark.parametrize("number", range(1, 14))
    def test_a_crash_costs_one_request(self, cluster: VirtualCluster, number: int) -> None:
        running = process(cluster)
        with contextlib.suppress(Crashed):
            running.reconcile(crash_after=number)
        cluster.slots.clear()
        fresh = running.restarted()
        fresh.reconcile(event=True)
        fresh.run_for(30)
        assert len(cluster.server.forms) <= 2
        assert cluster.status() == "Ready"
        assert served(cluster) == f"issued-{cluster.server.issued['']}"

    @pytest.mark.parametrize(
        ("error", "expected", "says"),
        [
            ("invalid_grant", "Misconfigured", "check the client"),
            ("invalid_client", "ClientRejected", "may not use the grant client_credentials"),
            ("invalid_target", "Misconfigured", "audience or resource"),
            ("invalid_request", "Misconfigured", "may use the grant client_credentials"),
            (LOST_AFTER, "IssuerUnavailable", "did not answer"),
        ],
    )
    def test_a_refusal_is_said_and_its_attempts_are_bounded(
        self, cluster: VirtualCluster, error: str, expected: str, says: str
    ) -> None:
        reply = error if error == LOST_AFTER else answer(400, {"error": error})
        cluster.server.script += [reply] * 1000
        running = process(cluster, replace(OPEN, scope="all"))
        running.reconcile()
        assert cluster.status() == expected
        assert says in cluster.message()
        running.run_for(6 * 3600)
        least = 10 if expected == "IssuerUnavailable" else 1800
        assert len(cluster.server.forms) <= 6 * 3600 / least
        cluster.server.script.clear()
        running.run_for(3600)
        assert cluster.status() == "Ready"

    def test_what_the_operator_takes_back_is_not_sent(self, cluster: VirtualCluster) -> None:
        put_client(cluster, scope="a")
        running = process(cluster)
        running.reconcile()
        running = running.restarted()
        running.issuer = replace(OPEN, allowed_params=())
        running.reconcile()
        running.run_for(LIFE)
        assert len(cluster.server.forms) == 1
        assert cluster.status() == "Misconfigured"
        assert annotations.SCOPE in cluster.message()
        running.issuer = OPEN
        running.reconcile()
        assert cluster.status() == "Ready"


def test_a_limit_of_the_issuer_is_kept(cluster: VirtualCluster) -> None:
    cluster.pauses.append(7.0)
    running = process(cluster)
    running.reconcile()
    assert forms(cluster) == []
    running.run_for(8)
    assert len(forms(cluster)) == 1
