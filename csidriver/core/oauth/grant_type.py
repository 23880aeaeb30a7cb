"""The grants by which access tokens are made: RFC 6749 sections 4.4 and 6, RFC 8693."""

from enum import Enum


class GrantType(Enum):
    """A grant; the value is what a user writes, and what grants store."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a name
    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "token-exchange"  # noqa: S105 - a name

    @property
    def is_repeatable(self) -> bool:
        """Its token request consumes nothing, so it may be sent again after any failure."""
        return self is not GrantType.REFRESH_TOKEN

    @property
    def parameter(self) -> str:
        """The value of the form field `grant_type`."""
        prefix = "urn:ietf:params:oauth:grant-type:" if self is GrantType.TOKEN_EXCHANGE else ""
        return prefix + self.value
