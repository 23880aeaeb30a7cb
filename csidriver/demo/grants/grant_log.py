"""The log of token requests without a refresh token; of what is secret it holds only hashes."""

from collections.abc import Iterable
from dataclasses import dataclass

from csidriver.core.sensitive import Sensitive

SECRETS = frozenset(
    {
        "actor_token",
        "assertion",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "device_code",
        "password",
        "refresh_token",
        "subject_token",
    }
)


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """One request for a token; `error` is empty if it was granted.

    `parameters` are those of the form, in their order, with hashes for what is secret.
    """

    requested_at: float  # epoch seconds
    client_id: str
    grant_type: str
    parameters: tuple[tuple[str, str], ...]
    error: str
    token_hash: str  # of the access token in the reply, empty if refused

    def every(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for given, value in self.parameters if given == name]


def without_secrets(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return parameters with hashes for those that are secret."""
    return tuple(
        (name, Sensitive(value).hash() if name in SECRETS else value) for name, value in pairs
    )
