"""The invariants of docs/protocol.md section 7, as witnesses of what is sent and what is stored.

Checked in every run: 1 to 7, 13, of 9 the rate, Retry-After and the number of attempts, of 11 that
nothing stays behind in the end; 8 in calm runs; how late a token is after a death, 11, in takeover
runs. 10 and 12 need a herd. Not checked: whether readers of the source see a true message.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects, grant_secret
from csidriver.core.refresh.schedule import lead_time, min_interval
from csidriver.core.status import Status
from tests.simulator.kernel import Kernel
from tests.simulator.plan import Plan
from tests.simulator.story import Flight, Story
from tests.simulator.writes import check_companion, check_source

if TYPE_CHECKING:
    from tests.simulator.replica import Replica


class Invariants:
    """Keeps the story of each token and says where it breaks a rule."""

    def __init__(self, kernel: Kernel, plan: Plan) -> None:
        self.kernel, self.plan = kernel, plan
        self.stories: dict[SourceRef, Story] = defaultdict(Story)
        self.grants: dict[tuple[str, str], SourceRef] = {}
        self.companions: dict[tuple[str, str], SourceRef] = {}
        self.handed: set[str] = set()
        self.paused: dict[tuple[int, int], tuple[float, float]] = {}
        self.emissions: dict[tuple[int, int], list[float]] = defaultdict(list)
        self.deaths: list[float] = []
        self.refreshes = 0

    def own(self, ref: SourceRef) -> None:
        self.grants[names.DRIVER_NAMESPACE, ref.grant] = ref
        self.companions[names.TOKENS_NAMESPACE, ref.companion] = ref

    def wrote(self, writer: str, before: Secret | None, after: Secret | None) -> None:
        """Each write, as it happens."""
        some = after or before
        assert some is not None
        key, kind = (some.namespace, some.name), "deletes" if after is None else "writes"
        self.kernel.note(writer, f"{kind} {some.name}{'' if after is None else _gist(after)}")
        if key in self.grants:
            self._grant(self.stories[self.grants[key]], writer, after)
        elif key in self.companions:
            ref = self.companions[key]
            story = self.stories[ref]
            for problem in check_companion(ref, story, before, after, self.kernel.now, self.plan):
                self.kernel.violate(problem)
        elif writer != "user":
            for problem in check_source(self.stories[SourceRef(*key)], before, after):
                self.kernel.violate(problem)

    def _grant(self, story: Story, writer: str, after: Secret | None) -> None:
        if after is None:
            # What we delete is over; what somebody else deletes is made again from memory.
            if writer != "user":
                story.forgotten()
            return
        grant = grant_secret.from_secret(after)
        token = grant.document.refresh_token
        assert token is not None
        live = token.reveal()
        if grant.generation < story.generation:
            self.kernel.violate("2: a generation went down")
        if live != story.live:
            self._moves(story, live)
        if "extra" not in grant.document.fields:
            self.kernel.violate("5: the grant lost an unknown field")
        if grant.status is Status.LOST_ROTATION is not story.status and not story.doubted(live):
            self.kernel.violate(f"6: LostRotation of {live} without an uncertain attempt")
        if grant.intent is not None and grant.intent.nonce != story.nonce:
            story.announced(grant.intent, writer, self.kernel.now)
        story.stored(grant, live)

    def _moves(self, story: Story, live: str) -> None:
        if live in story.replaced and live not in self.handed:
            self.kernel.violate(f"2: {live} is live again")
        if live not in self.handed and live not in story.humans:
            self.kernel.violate(f"4: {live} came from nowhere")
        if story.live and story.wanted == story.live:
            story.wanted = ""
        story.moves_to(live)

    def sends(self, replica: "Replica", ref: SourceRef, effect: effects.RequestToken) -> None:
        """A token is about to leave a process."""
        story, token, now = self.stories[ref], effect.refresh_token.reveal(), self.kernel.now
        self.kernel.note(replica.holder, f"{ref.name}: presents {token}")
        self.refreshes += 1
        unlimited = self.plan.policy == "unlimited"
        late = now > story.announced_at + story.takeover_after or replica.frozen_until > (
            story.announced_at
        )
        if token in story.replaced and not unlimited and not late and story.attempt <= 1:
            self.kernel.violate(f"1: {token} was replaced and is presented again")
        if not unlimited and not late:
            self._repeats(story, token)
            # A reseed does not wait for an exchange of the token it replaces.
            family = token.rpartition("-")[0]
            others = (f for f in story.flights.values() if f.token.rpartition("-")[0] == family)
            if any(not flight.excused for flight in others):
                self.kernel.violate(f"7: two sends of {token} overlap")
        self._paces(replica, story, now)
        if self.deaths and self.plan.kind == "takeover" and story.due:
            bound = max(story.due, self.deaths[0] + 20) + story.takeover_after + 10 + self._queue()
            if now > bound:
                self.kernel.violate(f"11: {ref.name} waited {now - bound:.1f} s too long")
        story.flights[replica.holder, replica.life] = Flight(token, now, excused=late)

    def _queue(self) -> float:
        return self.plan.secrets * 2 / self.plan.rate

    def _repeats(self, story: Story, token: str) -> None:
        unknown = story.unknown[token]
        most = 3 if self.plan.policy == "window" else 2
        if unknown >= most and token not in story.active:
            self.kernel.violate(f"1: {token} is presented after {unknown} unknown outcomes")
        strict = self.plan.policy != "window" and not self.plan.introspects
        if strict and unknown == 1 and story.expires:
            late = story.expires - lead_time(story.expires - story.issued) / 4
            if self.kernel.now < late - 0.5 - max(map(abs, self.plan.offsets)):
                self.kernel.violate(f"1: {token} is repeated before the last moment")
        story.active.discard(token)

    def _paces(self, replica: "Replica", story: Story, now: float) -> None:
        process = id(replica), replica.life
        sent = self.emissions[process]
        sent.append(now)
        if len([at for at in sent[-200:] if at > now - 1.0]) > self.plan.rate * 1.1 + 1:
            self.kernel.violate("9: more than the rate within a second")
        # Who had been let through when the server asked for a pause may still send.
        since, until = self.paused.get(process, (0.0, 0.0))
        if since + 1.0 < now < until - 0.01:
            self.kernel.violate("9: Retry-After is not heeded")
        story.sent.append(now)
        hour = [at for at in story.sent if at > now - 3600]
        story.sent = hour
        if len(hour) > 3600 / min_interval(self.plan.life) + 40:
            self.kernel.violate("9: too many attempts in an hour")

    def replied(
        self,
        replica: "Replica",
        ref: SourceRef,
        effect: effects.RequestToken,
        outcome: TokenResponse,
    ) -> None:
        """A process that lives has heard an outcome."""
        story, token = self.stories[ref], effect.refresh_token.reveal()
        process = replica.holder, replica.life
        story.flights.pop(process, None)
        if isinstance(outcome, Failure):
            self.kernel.note(replica.holder, f"{ref.name}: hears {outcome.reason.value}")
            story.unknown[token] += outcome.consumption is Consumption.UNKNOWN
            if outcome.reason is FailureReason.THROTTLED and outcome.pause:
                until = self.kernel.now + max(1.0, outcome.pause)
                since, paused = self.paused.get((id(replica), replica.life), (0.0, 0.0))
                since = since if self.kernel.now < paused else self.kernel.now
                self.paused[id(replica), replica.life] = since, max(until, paused)
            return
        fresh = outcome.reply.refresh_token
        if fresh is not None and fresh.reveal() != token:
            story.owed[process] = token, fresh.reveal()

    def answered(self, token: str, outcome: TokenResponse) -> None:
        """The server has answered."""
        if isinstance(outcome, Success):
            fresh = outcome.reply.refresh_token
            self.handed.add(token if fresh is None else fresh.reveal())

    def asked(self, token: str, *, active: bool | None) -> None:
        """The server was asked about a token."""
        for story in self.stories.values():
            if active:
                story.active.add(token)

    def visited(self, replica: "Replica", ref: SourceRef) -> None:
        """A visit is over."""
        story = self.stories[ref]
        owed = story.owed.pop((replica.holder, replica.life), None)
        if owed is not None and story.live == owed[0]:
            self.kernel.violate(f"3: the reply {owed[1]} is lost")

    def died(self, replica: "Replica", *, pod: bool) -> None:
        """A process ended: what it heard is owed only if its spool has it."""
        self.deaths.append(self.kernel.now)
        process = replica.holder, replica.life
        for ref, story in self.stories.items():
            flight = story.flights.pop(process, None)
            if flight is not None:
                story.unknown[flight.token] += 1
            story.disturbed = True
            owed = story.owed.pop(process, None)
            entry = replica.spool.get(ref)
            if pod and story.spooled and story.spooled[0] == replica.holder:
                story.spooled = None
            elif owed is not None and entry is not None and entry.reply is not None and not pod:
                story.spooled = replica.holder, *owed

    def frozen(self, replica: "Replica") -> None:
        """A process stands still: its sends may overlap with others'."""
        for story in self.stories.values():
            story.disturbed = True
            flight = story.flights.get((replica.holder, replica.life))
            if flight is not None:
                flight.excused = True


def _gist(secret: Secret) -> str:
    if grant_secret.STATE not in secret.data:
        return f" ({secret.annotations.get(annotations.STATUS, '-')})"
    grant = grant_secret.from_secret(secret)
    token, intent = grant.document.refresh_token, grant.intent
    said = "" if intent is None else f", intent {intent.holder} {intent.attempt} {intent.recorded}"
    live = "" if token is None else token.reveal()
    return f" ({grant.status.value}, {live}, generation {grant.generation}{said})"
