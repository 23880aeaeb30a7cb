"""The states of all companions, and the subscriptions that follow them."""

from typing import Protocol

from csidriver.broker.updates import ABSENT, CompanionState


class Follower(Protocol):
    """A subscription."""

    def offer(self, state: CompanionState) -> None:
        """Take the newest state; must not block."""


class CompanionCache:
    """For one event loop. Companions are known by the names of their Secrets."""

    def __init__(self) -> None:
        self._states: dict[str, CompanionState] = {}
        self._followers: dict[str, set[Follower]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def put(self, name: str, state: CompanionState | None) -> None:
        """Keep the state of a companion, None if it does not exist, and offer it to followers."""
        if state is None:
            self._states.pop(name, None)
        else:
            self._states[name] = state
        for follower in self._followers.get(name, ()):
            follower.offer(state or ABSENT)

    def follow(self, name: str, follower: Follower) -> None:
        """Offer the state now and after each change, until `unfollow`."""
        self._followers.setdefault(name, set()).add(follower)
        follower.offer(self._states.get(name, ABSENT))

    def unfollow(self, name: str, follower: Follower) -> None:
        followers = self._followers.get(name, set())
        followers.discard(follower)
        if not followers:
            self._followers.pop(name, None)
