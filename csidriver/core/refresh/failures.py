"""The table of failed token requests: status and retry policy (docs/protocol.md 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.status import Status


class RetryPolicy(Enum):
    """When to try again: number of quick attempts, seconds between later ones, most attempts.

    Quick attempts have a backoff: 2 s doubling, capped by the rest of the access token's lifetime.
    """

    _value_: tuple[float, float | None, float]

    BACKOFF = (inf, None, inf)
    RETRY_AFTER = (0, 1.0, inf)  # as the server says
    FIVE_MINUTES = (0, 300.0, inf)
    ONE_QUICK = (1, 3600.0, inf)
    THREE_QUICK = (3, 1800.0, inf)
    FIVE_QUICK = (5, 3600.0, inf)
    HOURLY = (0, 3600.0, inf)
    ONCE_LATER = (0, 300.0, 1)  # then only after a change
    NEVER = (0, None, 0)  # only after a change of the Secret


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One row of the table."""

    status: Status
    retry_policy: RetryPolicy


FAILURE_RULES: Mapping[FailureReason, FailureRule] = {
    FailureReason.UNREACHABLE: FailureRule(Status.ISSUER_UNAVAILABLE, RetryPolicy.BACKOFF),
    FailureReason.TLS: FailureRule(Status.MISCONFIGURED, RetryPolicy.FIVE_MINUTES),
    FailureReason.METADATA: FailureRule(Status.MISCONFIGURED, RetryPolicy.FIVE_MINUTES),
    FailureReason.THROTTLED: FailureRule(Status.ISSUER_UNAVAILABLE, RetryPolicy.RETRY_AFTER),
    FailureReason.NO_ANSWER: FailureRule(Status.UNCERTAIN, RetryPolicy.BACKOFF),
    FailureReason.SERVER_ERROR: FailureRule(Status.UNCERTAIN, RetryPolicy.BACKOFF),
    FailureReason.BAD_REPLY: FailureRule(Status.UNCERTAIN, RetryPolicy.BACKOFF),
    FailureReason.REDIRECT: FailureRule(Status.MISCONFIGURED, RetryPolicy.FIVE_MINUTES),
    FailureReason.INVALID_GRANT: FailureRule(Status.NEEDS_REAUTH, RetryPolicy.ONCE_LATER),
    FailureReason.LOGIN_REQUIRED: FailureRule(Status.NEEDS_REAUTH, RetryPolicy.NEVER),
    FailureReason.INVALID_CLIENT: FailureRule(Status.CLIENT_REJECTED, RetryPolicy.THREE_QUICK),
    FailureReason.CLIENT_NOT_ALLOWED: FailureRule(Status.CLIENT_REJECTED, RetryPolicy.HOURLY),
    FailureReason.INVALID_SCOPE: FailureRule(Status.MISCONFIGURED, RetryPolicy.HOURLY),
    FailureReason.INVALID_REQUEST: FailureRule(Status.MISCONFIGURED, RetryPolicy.HOURLY),
    FailureReason.UNSUPPORTED_PROOF: FailureRule(Status.MISCONFIGURED, RetryPolicy.HOURLY),
    FailureReason.FORBIDDEN: FailureRule(Status.ISSUER_UNAVAILABLE, RetryPolicy.FIVE_MINUTES),
    FailureReason.NO_ENDPOINT: FailureRule(Status.MISCONFIGURED, RetryPolicy.ONE_QUICK),
    FailureReason.UNKNOWN_ERROR: FailureRule(Status.MISCONFIGURED, RetryPolicy.FIVE_QUICK),
    FailureReason.TOKEN_TYPE: FailureRule(Status.MISCONFIGURED, RetryPolicy.HOURLY),
}
