"""The invariants of docs/protocol.md section 7, checked at each request and each write.

Checked in every run: 1 to 7, 13, of 9 the rate, Retry-After and the number of attempts, of 11 that
nothing stays behind in the end; 8 in calm runs; how late a token is after a death, 11, in takeover
runs. 10 needs many tokens, 12 is left to tests/core/refresh/test_new_tokens.py. 15 to 18 are
checked by `grants.checks`. Not checked: whether the message on a source is true.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.schedule import lead_time, min_interval
from csidriver.core.status import Status
from tests.simulator.cluster import Cluster
from tests.simulator.event_loop import EventLoop
from tests.simulator.history import InFlightRequest, TokenHistory
from tests.simulator.parameters import RunParameters
from tests.simulator.write_checks import check_companion, check_source

if TYPE_CHECKING:
    from tests.simulator.grants.checks import GrantChecks
    from tests.simulator.network import Request
    from tests.simulator.replica import Replica


class Invariants:
    """Keeps the history of each token and reports violations."""

    grant_checks: "GrantChecks"

    def __init__(self, loop: EventLoop, parameters: RunParameters, cluster: Cluster) -> None:
        self.loop, self.parameters, self.cluster = loop, parameters, cluster
        self.histories: dict[SourceRef, TokenHistory] = defaultdict(TokenHistory)
        self.issued: set[str] = set()
        # By process and client.
        self.retry_after: dict[tuple[int, int, str], tuple[float, float]] = {}
        self.sent_at: dict[tuple[int, int], list[float]] = defaultdict(list)
        self.died_at: list[float] = []
        self.refreshes = 0

    def on_write(self, writer: str, before: Secret | None, after: Secret | None) -> None:
        secret = after or before
        assert secret is not None
        key, action = (secret.namespace, secret.name), "deletes" if after is None else "writes"
        self.loop.record(
            writer, f"{action} {secret.name}{'' if after is None else _describe(after)}"
        )
        ref = self.cluster.token_objects.get(key)
        problems: Iterable[str] = ()
        if ref is not None and secret.namespace == names.DRIVER_NAMESPACE:
            self._check_grant(ref, writer, after)
        elif ref is not None:
            history, now = self.histories[ref], self.loop.now
            problems = check_companion(ref, history, before, after, now, self.parameters)
        elif writer != "user":
            problems = check_source(self.histories[SourceRef(*key)], before, after)
        for problem in problems:
            self.loop.report_violation(problem)

    def _check_grant(self, ref: SourceRef, writer: str, after: Secret | None) -> None:
        history = self.histories[ref]
        grant = None if after is None else grant_secret.from_secret(after)
        self.grant_checks.on_grant(ref, grant)
        if grant is None:
            # A grant that the driver deletes has ended; one that a user deletes is created again.
            if writer != "user":
                history.reset()
            return
        token = grant.document.refresh_token
        live = "" if token is None else token.reveal()
        if grant.generation < history.generation:
            self.loop.report_violation("2: a generation went down")
        if live != history.live:
            self._check_live_token(history, live)
        if live and "extra" not in grant.document.fields:
            self.loop.report_violation("5: the grant lost an unknown field")
        if (
            grant.status is Status.LOST_ROTATION is not history.status
            and not history.may_be_consumed(live)
        ):
            self.loop.report_violation(f"6: LostRotation of {live} without an uncertain attempt")
        if grant.intent is not None and grant.intent.nonce != history.nonce:
            history.set_intent(grant.intent, writer, self.loop.now)
        history.set_grant(grant, live)

    def _check_live_token(self, history: TokenHistory, live: str) -> None:
        if not live:
            self.loop.report_violation(f"2: the grant lost {history.live}")
        if live in history.replaced and live not in self.issued:
            self.loop.report_violation(f"2: {live} is live again")
        if live not in self.issued and live not in history.user_tokens:
            unasked = live in self.grant_checks.server.access_tokens.unasked
            self.loop.report_violation(f"{17 if unasked else 4}: {live} came from nowhere")
        if history.live and history.to_adopt == history.live:
            history.to_adopt = ""
        history.set_live(live)

    def on_request(self, replica: "Replica", effect: "Request") -> None:
        if isinstance(effect, effects.RequestToken):
            self._check_send(replica, effect.ref, effect)
        else:
            self.grant_checks.on_request(replica, effect)

    def _check_send(self, replica: "Replica", ref: SourceRef, effect: effects.RequestToken) -> None:
        history, token, now = self.histories[ref], effect.refresh_token.reveal(), self.loop.now
        self.loop.record(replica.holder, f"{ref.name}: presents {token}")
        self.refreshes += 1
        unlimited = self.parameters.policy == "unlimited"
        late = now > history.intent_written_at + history.takeover_after or replica.frozen_until > (
            history.intent_written_at
        )
        if token in history.replaced and not unlimited and not late and history.attempt <= 1:
            self.loop.report_violation(f"1: {token} was replaced and is presented again")
        if not unlimited and not late:
            self._check_repetition(history, token)
            # A reseed does not wait for a request with the token that it replaces.
            family = token.rpartition("-")[0]
            others = (f for f in history.in_flight.values() if f.token.rpartition("-")[0] == family)
            if any(not request.excused for request in others):
                self.loop.report_violation(f"7: two sends of {token} overlap")
        self.check_rate(replica, ref, effect.client.client_id)
        if self.died_at and self.parameters.scenario == "takeover" and history.due:
            latest = (
                max(history.due, self.died_at[0] + 20)
                + history.takeover_after
                + 10
                + self.queueing_time()
            )
            if now > latest:
                self.loop.report_violation(f"11: {ref.name} waited {now - latest:.1f} s too long")
        history.in_flight[replica.holder, replica.container] = InFlightRequest(
            token, now, excused=late
        )

    def queueing_time(self) -> float:
        return self.parameters.secrets * 2 / self.parameters.rate

    def _check_repetition(self, history: TokenHistory, token: str) -> None:
        unknown_outcomes = history.unknown_outcomes[token]
        most_allowed = 4 if self.parameters.policy == "window" else 2
        if unknown_outcomes >= most_allowed and token not in history.introspected_active:
            self.loop.report_violation(
                f"1: {token} is presented after {unknown_outcomes} unknown outcomes"
            )
        is_last = unknown_outcomes == most_allowed - 1 and not self.parameters.introspects
        if is_last and history.expires:
            last_moment = history.expires - lead_time(history.expires - history.issued) / 4
            if self.loop.now < last_moment - 0.5 - max(map(abs, self.parameters.offsets)):
                self.loop.report_violation(f"1: {token} is repeated before the last moment")
        history.introspected_active.discard(token)

    def check_rate(self, replica: "Replica", ref: SourceRef, client: str, further: int = 0) -> None:
        """Check the rate of a process, and the attempts of a token, which has `further` causes."""
        history, now = self.histories[ref], self.loop.now
        sent_at = self.sent_at[id(replica), replica.container]
        sent_at.append(now)
        if len([at for at in sent_at[-200:] if at > now - 1.0]) > self.parameters.rate * 1.1 + 1:
            self.loop.report_violation("9: more than the rate within a second")
        # A request that had its slot when the server asked for a pause may still be sent.
        paused = id(replica), replica.container, client
        since, until = self.retry_after.get(paused, (0.0, 0.0))
        if since + 1.0 < now < until - 0.01:
            self.loop.report_violation("9: Retry-After is not heeded")
        history.sent.append(now)
        hour = [at for at in history.sent if at > now - 3600]
        history.sent = hour
        if len(hour) > 3600 / min_interval(self.parameters.life) + 40 + further:
            self.loop.report_violation("9: too many attempts in an hour")

    def on_reply(self, replica: "Replica", effect: "Request", outcome: TokenResponse) -> None:
        """Note an outcome that a living process has received."""
        if isinstance(outcome, Failure):
            self.grant_checks.hinder_all(self.loop.now)
            self._note_failure(replica, effect, outcome)
        if isinstance(effect, effects.RequestRepeatable):
            return
        history, token = self.histories[effect.ref], effect.refresh_token.reveal()
        process = replica.holder, replica.container
        history.in_flight.pop(process, None)
        if isinstance(outcome, Failure):
            history.unknown_outcomes[token] += outcome.reason.consumption is Consumption.UNKNOWN
            return
        fresh = outcome.reply.refresh_token
        if fresh is not None and fresh.reveal() != token:
            history.unstored_replies[process] = token, fresh.reveal()

    def _note_failure(self, replica: "Replica", effect: "Request", failure: Failure) -> None:
        self.loop.record(replica.holder, f"{effect.ref.name}: hears {failure.reason.value}")
        if failure.reason is FailureReason.THROTTLED and failure.pause:
            until = self.loop.now + max(1.0, failure.pause)
            paused = id(replica), replica.container, effect.client.client_id
            since, last = self.retry_after.get(paused, (0.0, 0.0))
            since = since if self.loop.now < last else self.loop.now
            self.retry_after[paused] = since, max(until, last)

    def on_response(self, token: str, outcome: TokenResponse) -> None:
        if isinstance(outcome, Success):
            fresh = outcome.reply.refresh_token
            self.issued.add(token if fresh is None else fresh.reveal())

    def on_introspection(self, token: str, answer: Introspection) -> None:
        for history in self.histories.values():
            if answer is Introspection.ACTIVE:
                history.introspected_active.add(token)

    def on_reconciled(self, replica: "Replica", ref: SourceRef) -> None:
        """Check that a finished reconciliation has stored the reply it got."""
        history = self.histories[ref]
        process = replica.holder, replica.container
        unstored = history.unstored_replies.get(process)
        if unstored is None:
            return
        entry = replica.late.get(ref) or replica.kept.get(ref) or replica.spool.get(ref)
        if entry is not None and entry.reply is not None:
            return  # the next reconciliation stores it
        del history.unstored_replies[process]
        if history.live == unstored[0]:
            self.loop.report_violation(f"3: the reply {unstored[1]} is lost")

    def on_death(self, replica: "Replica", *, pod: bool) -> None:
        """Note that a process has died: only a reply in its spool must still be stored."""
        self.grant_checks.hinder_all(self.loop.now)
        self.died_at.append(self.loop.now)
        process = replica.holder, replica.container
        for ref, history in self.histories.items():
            request = history.in_flight.pop(process, None)
            if request is not None:
                history.unknown_outcomes[request.token] += 1
            history.disturbed = True
            unstored = history.unstored_replies.pop(process, None)
            entry = replica.spool.get(ref)
            if pod and history.spooled and history.spooled[0] == replica.holder:
                history.spooled = None
            elif unstored is not None and entry is not None and entry.reply is not None and not pod:
                history.spooled = replica.holder, *unstored

    def on_freeze(self, replica: "Replica") -> None:
        """Note that a process is frozen: its requests may overlap with others."""
        self.grant_checks.hinder_all(replica.frozen_until)
        for history in self.histories.values():
            history.disturbed = True
            request = history.in_flight.get((replica.holder, replica.container))
            if request is not None:
                request.excused = True


def _describe(secret: Secret) -> str:
    if grant_secret.STATE not in secret.data:
        return f" ({secret.annotations.get(annotations.STATUS, '-')})"
    grant = grant_secret.from_secret(secret)
    token = grant.document.refresh_token
    live = "" if token is None else token.reveal()
    return f" ({grant.status.value}, {live}, generation {grant.generation}, {grant.intent})"
