"""How a token is renewed, as the annotation `grant-type` of its Secret spells it."""

from enum import Enum


class GrantType(Enum):
    """The grant with which the refresher asks for an access token."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a name
    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "token-exchange"  # noqa: S105 - a name

    @property
    def is_repeatable(self) -> bool:
        """Return True if a token request spends nothing, so that it may be sent again."""
        return self is not GrantType.REFRESH_TOKEN
