"""Slots, intents and the spool around one exchange: docs/protocol.md section 4."""

import contextlib
import math
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import effects
from csidriver.core.refresh.effects import Effect, RequestToken, SpoolWrite
from csidriver.core.refresh.state import TokenState
from csidriver.core.refresh.token_request import RECHECK, acquire_slot
from csidriver.core.status import Status
from csidriver.errors import DriverError, SpoolFailed, StoreConflict, StoreUnavailable
from tests.core.refresh.grants import AFTER
from tests.core.refresh.virtual_cluster import ISSUER, LIFE, REF, Process, VirtualCluster
from tests.core.refresh.virtual_server import START, answer


class TestSlots:
    @pytest.mark.parametrize(
        ("pause", "left", "at", "status"),
        [
            (0.0, 10.0, None, Status.READY),
            (30.0, 10.0, START + 30, Status.ISSUER_UNAVAILABLE),
            (30.0, 3000.0, START + 30, Status.READY),
            (3.0, 10.0, START + 3, Status.READY),
            (math.inf, 10.0, START + RECHECK, Status.READY),
        ],
    )
    def test_a_pause_is_shown_if_the_token_ends_before(
        self, cluster: VirtualCluster, pause: float, left: float, at: float | None, status: Status
    ) -> None:
        cluster.pauses.append(pause)
        ends = START + left
        grant = replace(AFTER, status=Status.READY, issued_at=ends - 3600, expires_at=ends)
        state = TokenState(REF, grant=grant)
        after = cluster.run(acquire_slot(state, grant, ISSUER, grant.client, START))
        assert after.requeue_at == at
        assert after.grant is not None
        assert after.grant.status is status
        assert bool(cluster.slots) is (pause == 0.0)

    @pytest.mark.parametrize(
        ("kind", "error", "on"),
        [
            (effects.PatchSecret, StoreConflict("moved"), "grant-"),
            (effects.PatchSecret, StoreUnavailable("down"), "grant-"),
            (SpoolWrite, SpoolFailed("full"), ""),
        ],
        ids=["conflict", "outage", "spool"],
    )
    def test_an_attempt_that_sends_nothing_gives_its_slot_back(
        self, process: Process, kind: type[Effect[Any]], error: DriverError, on: str
    ) -> None:
        process.cluster.fail_next(kind, error, on=on)
        with contextlib.suppress(StoreUnavailable, SpoolFailed):
            process.reconcile()
        assert process.cluster.server.presented == []
        assert process.cluster.slots == []
        assert process.cluster.count(effects.ReleaseSendSlot) == 1
        process.cluster.now += 1
        process.reconcile()
        assert process.cluster.server.tokens() == ["alice-0"]


def test_a_refused_scope_is_left_out_while_configured(running: Process) -> None:
    cluster, running.issuer = running.cluster, replace(ISSUER, scope="storage.read")
    cluster.server.script.append(answer(400, {"error": "invalid_scope"}))
    running.run_for(2 * LIFE)
    assert cluster.live() == "alice-3"
    assert "scope is refused" in cluster.companion().message
    running.issuer = replace(ISSUER, scope="other")
    running.run_for(LIFE)
    sent = [e.issuer.scope for e in cluster.done if isinstance(e, RequestToken)]
    assert sent[:5] == ["", "storage.read", "", "", "other"]
    assert "refused" not in cluster.companion().message


def test_what_was_refused_is_tried_soon_with_a_new_configuration(running: Process) -> None:
    cluster = running.cluster
    cluster.server.script += [answer(400, {"error": "invalid_request"})] * 300
    running.run_for(LIFE + 3600)
    attempts = len(cluster.server.presented)
    cluster.server.script.clear()
    running.reconcile()
    assert len(cluster.server.presented) == attempts
    running.issuer = replace(ISSUER, client_auth="post")
    running.run_for(10)
    running.reconcile()
    running.run_for(10)
    assert len(cluster.server.presented) == attempts + 1
    assert cluster.companion().status is Status.READY


REPLIES: dict[str, Any] = {
    **{signal.value: Failure(signal) for signal in FailureReason},
    "throttled for no time": Failure(FailureReason.THROTTLED, 0.0),
    "throttled for ever": Failure(FailureReason.THROTTLED, 1e12),
    "expires at once": answer(200, {"access_token": "a", "expires_in": 1}),
    "expired": answer(200, {"access_token": "a", "expires_in": -1}),
    "never says": answer(200, {"access_token": "a"}),
    "no access token": answer(200, {"refresh_token": "alice-1"}),
    "expiry is text": answer(200, {"access_token": "a", "expires_in": "soon"}),
    "refresh token of a second": answer(
        200, {"access_token": "a", "expires_in": 3600, "refresh_expires_in": 1}
    ),
}


@pytest.mark.parametrize("reuse", [0.0, 60.0], ids=["strict", "window"])
@pytest.mark.parametrize("name", REPLIES)
def test_attempts_are_bounded_for_every_reply(running: Process, name: str, reuse: float) -> None:
    cluster, running.issuer = running.cluster, replace(ISSUER, reuse=reuse)
    cluster.server.introspects = reuse == 0.0
    cluster.server.script.extend([REPLIES[name]] * 10_000)
    # A lifetime of a second is renewed every second: one minute of that will do.
    period, most = (60.0, 62) if name == "expires at once" else (3600.0, 370)
    for _ in range(2):
        before = len(cluster.server.presented) + len(cluster.server.asked)
        for _ in range(6):
            running.run_for(period / 6)
        assert len(cluster.server.presented) + len(cluster.server.asked) - before <= most
