"""Ten thousand tokens due at once, through the real queue and limiter (9, 10)."""

import math
from itertools import pairwise

from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.rate_limiter import RateLimiter
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator.event_loop import START, EventLoop

SIZE = 10_000
# Seconds of a request to the server that works, and to the one that does not.
REQUEST_SECONDS, TIMEOUT_SECONDS = 0.2, 20.0


def serve_all() -> tuple[int, list[str]]:  # noqa: C901 - closures over one loop
    """Serve 10,000 tokens due at once at a server that answers, beside 100 at one that hangs."""
    loop = EventLoop()
    limiter = RateLimiter(lambda: loop.now)
    # The dead server is configured to take more requests at once than there are workers.
    issuers = {
        name: Issuer(name, token_endpoint=f"https://{name}/token", in_flight=most)
        for name, most in (("good", 16), ("dead", 100))
    }
    worker_limits = {name: issuer.in_flight for name, issuer in issuers.items()}
    queue: WorkQueue[SourceRef] = WorkQueue(
        lambda: loop.now,
        32,
        lambda name: worker_limits.get(name, 32),
        lambda ref: ref.namespace,
        limiter.next_turn,
    )
    client = Client("my-app", Sensitive("s3cret"))
    answered_at: list[float] = []
    ok = Success(TokenDocument({}))

    wakes_at = math.inf

    def wake() -> None:
        nonlocal wakes_at
        wakes_at = math.inf
        start_due()

    def start_due() -> None:
        nonlocal wakes_at
        ref, pause = queue._pop()
        while ref is not None:
            reconcile(ref)
            ref, pause = queue._pop()
        if loop.now + pause < wakes_at:
            wakes_at = loop.now + pause
            loop.call_at(wakes_at, wake)

    def reconcile(ref: SourceRef) -> None:
        decision = limiter.acquire(issuers[ref.namespace], ref, client)
        if decision.probe:
            loop.call_at(loop.now + 5.0, lambda: reconciled(ref, 1.0, probed=True))
        elif decision.wait:
            reconciled(ref, decision.wait)
        elif ref.namespace == "good":
            answered_at.append(loop.now)
            loop.call_at(loop.now + REQUEST_SECONDS, lambda: request_ended(ref, alive=True))
        else:
            loop.call_at(loop.now + TIMEOUT_SECONDS, lambda: request_ended(ref, alive=False))

    def request_ended(ref: SourceRef, *, alive: bool) -> None:
        outcome = ok if alive else Failure(FailureReason.NO_ANSWER)
        limiter.record_outcome(issuers[ref.namespace], ref, client, outcome)
        reconciled(ref, 0.0 if alive else 60.0)

    def reconciled(ref: SourceRef, delay: float, *, probed: bool = False) -> None:
        if probed:
            limiter.record_probe(issuers[ref.namespace], alive=False)
        queue.done(ref)
        if delay:
            queue.add_at(ref, loop.now + delay, ref.namespace)
            loop.call_at(loop.now + delay, start_due)
        loop.call_at(loop.now, start_due)

    for number in range(100):
        queue.add_at(SourceRef("dead", f"t-{number}"), START, "dead")
    for number in range(SIZE):
        queue.add_at(SourceRef("good", f"t-{number}"), START, "good")
    start_due()
    loop.run_until(START + 400.0)
    return len(answered_at), [*loop.violations, *_check_service(answered_at)]


def _check_service(answered_at: list[float]) -> list[str]:
    violations = []
    rate = Issuer("good").rate
    if len(answered_at) < SIZE or answered_at[-1] - START > SIZE / rate + REQUEST_SECONDS:
        violations.append(
            f"10: {len(answered_at)} of a healthy server's tokens were served in time"
        )
    pause = max(b - a for a, b in pairwise([START, *answered_at]))
    if pause > REQUEST_SECONDS:
        violations.append(f"10: a dead server held up a healthy one's tokens for {pause:.1f} s")
    for first, last in zip(answered_at, answered_at[int(rate * 1.1) + 1 :], strict=False):
        if last - first < 1.0 - 1e-6:
            violations.append("9: more than the rate within a second")
            break
    return violations
