"""Outages and slow answers of authorization servers: no login is lost, no status lies."""

from dataclasses import replace

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh.effects import GetSecret, RequestToken, SpoolEntry
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from csidriver.errors import StoreRefused
from tests.core.refresh.virtual_cluster import ISSUER, REF, Process, VirtualCluster
from tests.core.refresh.virtual_server import LOST_BEFORE

MINUTE = 60.0
NO_INTROSPECTION = replace(ISSUER, token_endpoint="https://auth.example/token")


@pytest.fixture
def short_lived(cluster: VirtualCluster) -> Process:
    """Return a process with one token of a minute, refreshed once."""
    cluster.server.lifetime = MINUTE
    process = Process(cluster)
    process.reconcile()
    return process


def break_server(process: Process, seconds: float) -> None:
    """Let the server be away when the token is due, for so long."""
    process.cluster.server.alive = False
    process.run_for(seconds)
    process.cluster.server.alive = True


class TestB1:
    @pytest.mark.parametrize("restarts", [False, True])
    @pytest.mark.parametrize("introspects", [False, True])
    def test_nothing_is_presented_before_a_sign_of_life(
        self, short_lived: Process, *, restarts: bool, introspects: bool
    ) -> None:
        """It is asked, or looked at whether it lives; then the token is presented once more."""
        cluster = short_lived.cluster
        short_lived.issuer = ISSUER if introspects else NO_INTROSPECTION
        cluster.server.introspects = introspects
        break_server(short_lived, 180.0)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.companion().status is Status.UNCERTAIN
        if restarts:
            short_lived.restart()
            short_lived.reconcile()
        short_lived.run_for(60)
        assert cluster.companion().status is Status.READY
        assert cluster.server.tokens()[:3] == ["alice-0", "alice-1", "alice-1"]
        assert bool(cluster.server.asked) is introspects

    @pytest.mark.parametrize("outage", [10.0, 300.0])
    def test_nor_within_a_reuse_window(self, short_lived: Process, outage: float) -> None:
        """Else an outage of seconds uses up all repetitions."""
        cluster = short_lived.cluster
        short_lived.issuer = replace(NO_INTROSPECTION, reuse=MINUTE)
        short_lived.run_for((cluster.grant().next_refresh or 0.0) - short_lived.clock - 1)
        break_server(short_lived, 1 + outage)
        assert cluster.server.tokens().count("alice-1") == 1
        short_lived.run_for(2 if outage < MINUTE else MINUTE)
        assert cluster.companion().status is Status.READY
        assert cluster.server.tokens().count("alice-1") == 2


def test_an_expired_token_is_not_ready_though_its_source_is_refused(short_lived: Process) -> None:
    """B2."""
    cluster = short_lived.cluster
    cluster.fail_next(GetSecret, StoreRefused("a right was taken away"), times=10**6)
    cluster.now = cluster.grant().expires_at
    with pytest.raises(StoreRefused):
        short_lived.reconcile(event=True)
    assert cluster.companion().status is Status.ISSUER_UNAVAILABLE


class TestTimeOfARequest:
    """B18, L1."""

    @pytest.mark.parametrize("introspects", [False, True])
    def test_nothing_else_is_done_while_a_late_reply_is_awaited(
        self, short_lived: Process, *, introspects: bool
    ) -> None:
        """A server that works for 18 s and then rotates calls the token active until then."""
        cluster = short_lived.cluster
        short_lived.issuer = ISSUER if introspects else NO_INTROSPECTION
        cluster.server.introspects = introspects
        awaited = Failure(FailureReason.NO_ANSWER, awaited=15.0)
        cluster.server.script.append(awaited)
        while len(cluster.server.presented) < 2:
            short_lived.run_for(1)
        short_lived.run_for(14)
        assert cluster.server.asked == []
        assert len(cluster.server.presented) == 2
        short_lived.run_for(60)
        assert len(cluster.server.presented) > 2

    def test_a_long_window_allows_no_endless_repetitions(self, short_lived: Process) -> None:
        short_lived.issuer = replace(NO_INTROSPECTION, reuse=600.0)
        short_lived.cluster.server.script += [LOST_BEFORE] * 100
        short_lived.run_for(600)
        assert len(short_lived.cluster.server.presented) == 1 + 4
        assert short_lived.state.grant is not None
        assert short_lived.state.grant.next_refresh is None

    def test_a_gateways_404_to_an_introspection_is_no_refusal(self, short_lived: Process) -> None:
        cluster = short_lived.cluster
        cluster.server.introspects = True
        cluster.server.script += [LOST_BEFORE, LOST_BEFORE]
        cluster.server.answers += [Introspection.ACTIVE, Introspection.UNCLEAR]
        short_lived.run_for(120)
        assert cluster.companion().status is Status.READY

    def test_a_strict_server_is_listened_to_until_late(self, short_lived: Process) -> None:
        cluster, short_lived.issuer = short_lived.cluster, NO_INTROSPECTION
        cluster.server.script.append(LOST_BEFORE)
        while len(cluster.server.presented) < 2:
            short_lived.run_for(1)
        sent = [e for e in cluster.done if isinstance(e, RequestToken)][-1]
        assert 5 <= sent.timeout <= 20
        late = cluster.grant().expires_at - lead_time(MINUTE) / 4
        assert sent.late_timeout == pytest.approx(late - cluster.server.presented[-1][0])
        assert cluster.companion().status is Status.UNCERTAIN
        outcome = cluster.server.serve("alice-1", cluster.now)
        assert isinstance(outcome, Success)
        token_hash = sent.refresh_token.hash()
        cluster.late[REF] = SpoolEntry(sent.nonce, cluster.now, outcome.reply, token_hash)
        short_lived.reconcile()
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-2"
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.spool == {}
