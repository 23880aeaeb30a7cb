"""The history of one token, derived from what was stored and sent."""

from collections import Counter
from dataclasses import dataclass, field

from csidriver.core.refresh.grant import Grant, Intent
from csidriver.core.status import Status

Process = tuple[str, int]


@dataclass
class InFlightRequest:
    """A token request under way. `excused`: its process was frozen during it."""

    token: str
    since: float
    excused: bool = False


@dataclass
class TokenHistory:
    """The history of a token. `user_tokens`: refresh tokens that users wrote, `to_adopt`: the last.

    `disturbed`: a process has died or frozen since the present refresh token is live.
    """

    live: str = ""
    to_adopt: str = ""
    generation: int = 0
    status: Status = Status.PENDING
    due: float = 0.0
    issued: float = 0.0
    expires: float = 0.0
    access: str = ""
    nonce: str = ""
    intent_written_at: float = 0.0
    takeover_after: float = 0.0
    attempt: int = 0
    disturbed: bool = False
    companion_generation: int = 0
    copied: bool = False
    replaced: set[str] = field(default_factory=set)
    was_live: set[str] = field(default_factory=set)
    user_tokens: set[str] = field(default_factory=set)
    unknown_outcomes: Counter[str] = field(default_factory=Counter)
    introspected_active: set[str] = field(default_factory=set)
    in_flight: dict[Process, InFlightRequest] = field(default_factory=dict)
    unstored_replies: dict[Process, tuple[str, str]] = field(default_factory=dict)
    spooled: tuple[str, str, str] | None = None
    sent: list[float] = field(default_factory=list)

    def reset(self) -> None:
        kept = ("user_tokens", "companion_generation", "in_flight", "sent")
        self.__init__(**{name: getattr(self, name) for name in kept})  # type: ignore[misc]

    def set_live(self, live: str) -> None:
        if self.live:
            self.replaced.add(self.live)
        self.replaced.discard(live)
        self.was_live.add(live)
        self.live, self.disturbed, self.spooled = live, False, None

    def set_intent(self, intent: Intent, writer: str, now: float) -> None:
        if self.spooled is not None and self.spooled[0] != writer:
            self.spooled = None  # another process has taken over
        self.nonce, self.intent_written_at = intent.nonce, now
        self.takeover_after, self.attempt = intent.takeover_after, intent.attempt

    def set_grant(self, grant: Grant, live: str) -> None:
        token = grant.document.access_token
        self.generation, self.status = grant.generation, grant.status
        self.due = grant.next_refresh or 0.0
        self.issued, self.expires = grant.issued_at, grant.expires_at
        self.access = "" if token is None else token.reveal()
        for process, (_, fresh) in list(self.unstored_replies.items()):
            if fresh == live:
                del self.unstored_replies[process]

    def may_be_consumed(self, token: str) -> bool:
        return bool(self.unknown_outcomes[token]) or self.disturbed or self.attempt > 1
