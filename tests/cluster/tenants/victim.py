"""A namespace whose tokens must not suffer, and how late they are refreshed."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

from tests.cluster.tenants.measuring import meanwhile
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.issuer import ScriptedIssuer


class Victim:
    """`count` tokens with a lifetime in seconds.

    `lateness` has a sample for each refresh that was observed: from the instant that the refresher
    had planned until the new token was written. `expired` are the names of expired tokens.
    """

    def __init__(self, user: UserNamespace, count: int, lifetime: float) -> None:
        self.lateness: list[float] = []
        self.expired: set[str] = set()
        self._user, self._lifetime = user, lifetime
        self._names = [f"hello-{number}" for number in range(count)]
        # Of each token the newest generation, when it is due, and its expiry.
        self._seen: dict[str, tuple[int, float, float]] = {}

    def create(self, issuer: ScriptedIssuer) -> None:
        for name in self._names:
            self._user.create(name, issuer.seed("my-app"))

    def is_ready(self) -> bool:
        return all(map(self._user.is_final, self._names))

    @contextlib.contextmanager
    def observed(self) -> Iterator[None]:
        """Look at each token ten times in its life, from a thread of its own."""
        with meanwhile(self._observe, "victim"):
            yield
        for name in self._names:
            self._look(name)

    def _observe(self, stop: threading.Event) -> None:
        pause = self._lifetime / 10 / len(self._names)
        for name in itertools.cycle(self._names):
            self._look(name)
            if stop.wait(pause):
                return

    def _look(self, name: str) -> None:
        grant, companion = self._user.grant(name), self._user.companion(name)
        token = None if companion is None else companion.token
        if companion is None or token is None or token.expires_at <= time.time():
            self.expired.add(name)
            return
        generation, due, expiry = self._seen.get(name, (0, 0.0, 0.0))
        # If the two differ, it is being refreshed right now.
        if grant is None or not generation < grant.generation == companion.generation:
            return
        if generation:
            if token.written_at >= expiry:
                self.expired.add(name)
            self.lateness.append(token.written_at - due)
        assert grant.next_refresh is not None
        self._seen[name] = grant.generation, grant.next_refresh, token.expires_at
