"""Ten thousand tokens issued in one second, through the real queue and limiter (9, 10, 12).

2,000 are enough to show how they are spread (12).
"""

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_response import Failure, Success
from csidriver.core.refresh import effects, token_request
from csidriver.core.refresh.grant import Grant, adopt
from csidriver.core.refresh.source import Client, Source
from csidriver.core.refresh.state import TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.rate_limiter import RateLimiter
from csidriver.refresher.workqueue import WorkQueue
from tests.simulator.event_loop import START, EventLoop

SIZE = 10_000
# Seconds of a request to the server that works, and to the one that does not.
REQUEST_SECONDS, TIMEOUT_SECONDS = 0.2, 20.0
_REPLY = '{"access_token": "at", "refresh_token": "rt-1", "expires_in": %d}'
_SOURCE = Source(
    ref=SourceRef("physics", "hello"),
    uid="",
    document=TokenDocument.parse(Sensitive('{"refresh_token": "rt-0"}'))[0],
    key="oauth",
    client=Client("my-app", Sensitive("s3cret")),
    issuer="",
    trailing=False,
)


def simulate_many_tokens() -> tuple[int, list[str]]:
    """Return the number of requests and the violations."""
    sent, slow = serve_all()
    return sent, [*check_spread(), *slow]


def check_spread(size: int = 2_000) -> list[str]:
    """Return violations in when so many tokens are due again."""
    rng = Random(1)  # noqa: S311 - repeatable on purpose
    issuer, violations = Issuer("good"), []
    grant = adopt(_SOURCE, issuer, START, None)
    for life in (30.0, 60.0, 300.0, 3600.0, 6000.0):
        issued = [START + rng.random() for _ in range(size)]
        reply = Success(TokenDocument.parse(Sensitive(_REPLY % life))[0])
        due_times = [
            _due(replace(grant, source_uid=f"uid-{number}"), reply, at, issuer)
            for number, at in enumerate(issued)
        ]
        after_restart = _due(replace(grant, source_uid="uid-0"), reply, issued[0], issuer)
        dues = sorted(due_times)
        width = dues[-size // 100] - dues[size // 100]
        if dues[-1] - dues[0] < 0.09 * life or width < 0.08 * life:
            violations.append(f"12: {size} tokens of {life:.0f} s lie within {width:.1f} s")
        if due_times[0] != after_restart:
            violations.append("12: a restart draws other instants")
    return violations


def _due(grant: Grant, reply: Success, sent_at: float, issuer: Issuer) -> float:
    """Return when production refreshes a token again whose reply it has just stored."""
    known = TokenState(_SOURCE.ref, grant_secret=Secret("oauth2-csi", "grant"), grant=grant)
    recorded = token_request._store_outcome(known, grant, reply, sent_at, issuer)
    after = effects.drive(recorded, lambda effect: getattr(effect, "base")).grant  # noqa: B009
    assert after is not None
    assert after.next_refresh is not None
    return after.next_refresh


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
