"""Outages and slow answers of authorization servers: no login is lost, no status lies."""

from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh.effects import Effect, GetSecret, Introspect, PatchSecret, RequestToken
from csidriver.core.refresh.schedule import lead_time
from csidriver.core.status import Status
from csidriver.errors import StoreRefused
from tests.core.refresh.hooks import once
from tests.core.refresh.virtual_cluster import ISSUER, REF, Process, VirtualCluster
from tests.core.refresh.virtual_server import LOST_BEFORE, answer

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


class TestB2:
    def test_an_expired_token_is_not_ready(self, short_lived: Process) -> None:
        cluster = short_lived.cluster
        cluster.server.script += [answer(403, {})] * 1000
        expires_at = cluster.grant().expires_at
        short_lived.run_for(expires_at - lead_time(MINUTE) / 2 - cluster.now + 0.1)
        assert cluster.shown() == "IssuerUnavailable"

    @pytest.mark.parametrize("what", [GetSecret, PatchSecret])
    def test_neither_is_one_whose_objects_are_refused(
        self, short_lived: Process, what: type[Effect[Any]]
    ) -> None:
        cluster = short_lived.cluster

        def refuse(effect: Effect[Any]) -> None:
            source = isinstance(effect, GetSecret) and effect.namespace == REF.namespace
            stored = isinstance(effect, PatchSecret) and effect.base.name == REF.grant
            if isinstance(effect, what) and (source or stored):
                raise StoreRefused("a right was taken away")

        cluster.before = refuse
        cluster.now = cluster.grant().expires_at
        with pytest.raises(StoreRefused):
            short_lived.reconcile(event=True)
        assert cluster.companion().status is Status.ISSUER_UNAVAILABLE


class TestTimeOfARequest:
    """B18, L1."""

    def request(self, process: Process) -> RequestToken:
        process.cluster.server.script.append(LOST_BEFORE)
        while len(process.cluster.server.presented) < 2:
            process.run_for(1)
        return [e for e in process.cluster.done if isinstance(e, RequestToken)][-1]

    @pytest.mark.parametrize(("lifetime", "reuse"), [(1.4, 0.0), (1.4, 60.0), (86400.0, 0.0)])
    def test_it_has_five_seconds(
        self, cluster: VirtualCluster, lifetime: float, reuse: float
    ) -> None:
        cluster.server.lifetime = lifetime
        process = Process(cluster, issuer=replace(NO_INTROSPECTION, reuse=reuse))
        process.reconcile()
        sent = self.request(process)
        assert 5 <= sent.timeout <= 20
        assert sent.timeout <= sent.late_timeout <= 300

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

    def test_a_reply_that_comes_while_its_loss_is_stored(self, short_lived: Process) -> None:
        cluster = short_lived.cluster
        cluster.server.introspects = True
        sent = self.request(short_lived)
        reply = cluster.server.serve("alice-1", cluster.now)
        cluster.after = once(
            lambda e: isinstance(e, Introspect), lambda: cluster.reply_late(sent, reply)
        )
        while cluster.companion().status is not Status.LOST_ROTATION:
            short_lived.run_for(1)
        short_lived.reconcile()
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-2"
        assert cluster.server.tokens() == ["alice-0", "alice-1"]

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
        sent = self.request(short_lived)
        late = cluster.grant().expires_at - lead_time(MINUTE) / 4
        assert sent.late_timeout == pytest.approx(late - cluster.server.presented[-1][0])
        assert cluster.companion().status is Status.UNCERTAIN
        cluster.reply_late(sent, cluster.server.serve("alice-1", cluster.now))
        short_lived.reconcile()
        assert cluster.companion().status is Status.READY
        assert cluster.live() == "alice-2"
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.spool == {}
