"""What has happened to one token so far, told by what was stored and sent."""

from collections import Counter
from dataclasses import dataclass, field

from csidriver.core.refresh.grant import Grant, Intent
from csidriver.core.status import Status

Process = tuple[str, int]


@dataclass
class Flight:
    """A token on its way. `excused`: its process was frozen meanwhile."""

    token: str
    since: float
    excused: bool = False


@dataclass
class Story:
    """One token's. `humans` are tokens that people wrote, `wanted` the one that is to be adopted.

    `disturbed`: since this token is live, a process died or stood still.
    """

    live: str = ""
    wanted: str = ""
    generation: int = 0
    status: Status = Status.PENDING
    due: float = 0.0
    issued: float = 0.0
    expires: float = 0.0
    access: str = ""
    nonce: str = ""
    announcer: str = ""
    announced_at: float = 0.0
    takeover_after: float = 0.0
    attempt: int = 0
    disturbed: bool = False
    shown: int = 0
    copied: bool = False
    acted: bool = False
    replaced: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    humans: set[str] = field(default_factory=set)
    unknown: Counter[str] = field(default_factory=Counter)
    active: set[str] = field(default_factory=set)
    flights: dict[Process, Flight] = field(default_factory=dict)
    owed: dict[Process, tuple[str, str]] = field(default_factory=dict)
    spooled: tuple[str, str, str] | None = None
    sent: list[float] = field(default_factory=list)

    def forgotten(self) -> None:
        """The grant is deleted: whatever comes next is new."""
        humans, shown = self.humans, self.shown
        flights, sent = self.flights, self.sent
        self.__init__()  # type: ignore[misc]
        self.humans, self.shown, self.flights, self.sent = humans, shown, flights, sent

    def moves_to(self, live: str) -> None:
        """Another refresh token is live now."""
        if self.live:
            self.replaced.add(self.live)
        self.replaced.discard(live)
        self.known.add(live)
        self.live, self.disturbed, self.spooled = live, False, None

    def announced(self, intent: Intent, writer: str, now: float) -> None:
        """An intent is stored."""
        if self.spooled is not None and self.spooled[0] != writer:
            self.spooled = None  # somebody else has taken over
        self.nonce, self.announcer, self.announced_at = intent.nonce, intent.holder, now
        self.takeover_after, self.attempt = intent.takeover_after, intent.attempt

    def stored(self, grant: Grant, live: str) -> None:
        """The grant is as it says."""
        token = grant.document.access_token
        self.generation, self.status = grant.generation, grant.status
        self.due = grant.next_refresh or 0.0
        self.issued, self.expires = grant.issued_at, grant.expires_at
        self.access = "" if token is None else token.reveal()
        for process, (_, fresh) in list(self.owed.items()):
            if fresh == live:
                del self.owed[process]

    def doubted(self, token: str) -> bool:
        """Whether an attempt with this token may have had an unknown outcome."""
        return bool(self.unknown[token]) or self.disturbed or self.attempt > 1
