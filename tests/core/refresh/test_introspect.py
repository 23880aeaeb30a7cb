"""Asking before presenting what may be spent (RFC 7662): docs/protocol.md section 4."""

from dataclasses import replace

import pytest

from csidriver.core.login_command import ask_for_login
from csidriver.core.refresh.messages import UNCERTAIN_TWICE_MESSAGE
from csidriver.core.status import Status
from tests.core.refresh.virtual_cluster import ISSUER, LIFE, REF, Process
from tests.core.refresh.virtual_server import LOST_AFTER, LOST_BEFORE, answer


@pytest.fixture
def asked(running: Process) -> Process:
    """A server that can be asked."""
    running.cluster.server.introspects = True
    return running


REFUSED = answer(400, {"error": "invalid_grant"})


class TestUncertain:
    def test_a_good_token_is_presented_once_more_and_soon(self, asked: Process) -> None:
        cluster = asked.cluster
        cluster.server.script.append(LOST_BEFORE)
        asked.run_for(LIFE)
        (_, first, second) = (at for at, _ in cluster.server.presented[:3])
        assert second - first == 10
        assert cluster.server.asked == [(second, "alice-1")]
        assert cluster.live() == "alice-2"
        assert cluster.companion().status is Status.READY

    def test_a_token_that_was_spent_is_not_presented_again(self, asked: Process) -> None:
        cluster = asked.cluster
        cluster.server.script.append(LOST_AFTER)
        asked.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.companion().status is Status.LOST_ROTATION
        assert cluster.reasons()[-2:] == ["Uncertain", "LostRotation"]
        assert cluster.grant().intent is None
        assert cluster.slots == []
        asked.run_for(10 * LIFE)
        assert len(cluster.server.asked) == 1
        asked.login_as("bob")
        assert cluster.companion().status is Status.READY

    def test_unknown_twice_and_no_word_waits_for_a_human(self, running: Process) -> None:
        running.cluster.server.script += [LOST_BEFORE, LOST_BEFORE]
        running.run_for(2 * LIFE)
        assert len(running.cluster.server.presented) == 3
        told = running.cluster.companion()
        assert told.status is Status.UNCERTAIN
        text = f"issuer 'cern': {UNCERTAIN_TWICE_MESSAGE}"
        assert told.message == ask_for_login(text, REF)
        assert running.state.next_reconcile is None

    def test_every_further_presentation_needs_a_word_of_its_own(self, asked: Process) -> None:
        cluster = asked.cluster
        cluster.server.script += [LOST_BEFORE, LOST_BEFORE, LOST_BEFORE]
        asked.run_for(LIFE - 60)
        assert len(cluster.server.asked) == 3
        assert cluster.server.tokens() == ["alice-0", *["alice-1"] * 4]
        assert cluster.live() == "alice-2"

    def test_within_its_window_a_server_is_not_asked(self, asked: Process) -> None:
        """It serves the spent token, which would be called inactive."""
        cluster, asked.issuer = asked.cluster, replace(ISSUER, reuse=60.0)
        cluster.server.window = 60
        cluster.server.script.append(LOST_AFTER)
        asked.run_for(LIFE - 60)
        assert cluster.server.asked == []
        assert cluster.live() == "alice-2"


class TestInvalidGrant:
    def test_an_inactive_token_is_not_presented_again(self, asked: Process) -> None:
        cluster = asked.cluster
        cluster.server.families.clear()
        asked.run_for(LIFE)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert cluster.companion().status is Status.NEEDS_REAUTH
        (at, _), (asked_at, _) = cluster.server.presented[1], cluster.server.asked[0]
        assert asked_at - at == pytest.approx(300)
        asked.run_for(10 * 86400)
        assert len(cluster.server.asked) == 1
        assert cluster.slots == []
