"""A token request that may be repeated, in virtual time."""

from typing import TYPE_CHECKING

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh import effects

if TYPE_CHECKING:
    from tests.simulator.reconciliation import Reconciliation


def request(reconciliation: "Reconciliation", effect: effects.RequestRepeatable) -> None:
    """Send a request; resume with its outcome, or with none after the timeout."""
    replica, network = reconciliation.replica, reconciliation.network
    network.invariants.grant_checks.on_request(replica, effect)
    container, answered = replica.container, False

    def answer(outcome: TokenResponse) -> None:
        nonlocal answered
        if not answered:
            answered = True
            timer.cancel()
            network.invariants.grant_checks.on_outcome(replica, effect, outcome)
            reconciliation.end_request(outcome)

    timer = replica.call_later(effect.timeout, lambda: answer(Failure(FailureReason.NO_ANSWER)))

    def reply(outcome: TokenResponse, after: float) -> None:
        if container == replica.container:
            replica.call_later(after, lambda: answer(outcome))

    network.request(effect, reply)
