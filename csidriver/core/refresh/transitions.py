"""The life of a grant as two tables, which docs/protocol.md section 6 shows.

`outcomes` applies them. Nothing else decides about intent, status and next attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.status import Status


class RetryPolicy(Enum):
    """When to try again after a failure; `schedule` has the seconds."""

    TRANSIENT = "transient"
    RETRY_AFTER = "Retry-After"
    SLOW = "slow"
    STOP = "stop"  # only a change of the Secret or of the issuer helps


class Moment(Enum):
    """When to try again after the other outcomes."""

    DUE = "when due"
    SOON = "+1 s, +3 s"
    LATE = "E - lead/4"


class Sent(Enum):
    """The intent under which the live refresh token was sent last."""

    NONE = "none"  # nothing was sent, or it may be repeated
    FIRST = "first"
    REUSE = "reuse"  # again, within the reuse window
    REPEAT = "repeat"


class Outcome(Enum):
    """The outcome of a token request, of an introspection, or of a probe."""

    TOKENS = "tokens"
    NO_ACCESS_TOKEN = "tokens, but no usable AT"  # noqa: S105 - a text
    REUSABLE = "unknown, within the reuse window"
    ASKABLE = "unknown, introspection may tell"
    UNKNOWN = "unknown"
    REFUSED = "`invalid_grant`"
    REFUSED_AGAIN = "`invalid_grant` again"
    LOGIN_OVER = "`invalid_grant` or inactive after the known end of the login"
    LOGIN_REQUIRED = "`login_required`"
    CLIENT_REFUSED = "`invalid_grant` or `login_required` for `client_credentials`"
    SUBJECT_REFUSED = "`invalid_grant` or `login_required` for `token-exchange`"
    FAILED = "any other failure"
    INACTIVE = "introspection: inactive"
    SILENT = "introspection or probe: no answer"


class NextIntent(Enum):
    """The intent after the outcome."""

    NONE = "none"
    RECORDED = "recorded"
    EARLIER = "the earlier one"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the life of a grant; None for what the reason of the failure says."""

    intent: NextIntent
    status: Status | None
    next: RetryPolicy | Moment | None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One row of the reasons of failures."""

    status: Status
    retry_policy: RetryPolicy


_NONE, _RECORDED, _EARLIER = NextIntent
_TRANSIENT, _RETRY_AFTER, _SLOW, _STOP = RetryPolicy
_ANY = tuple(Sent)
_UNSENT, _UNSENT_OR_FIRST, _SENT = _ANY[:1], _ANY[:2], _ANY[1:]
_FIRST_OR_REUSE, _REUSE_OR_REPEAT, _REPEAT = _ANY[1:3], _ANY[2:], _ANY[3:]

_ROWS: tuple[
    tuple[tuple[Sent, ...], Outcome, NextIntent, Status | None, RetryPolicy | Moment | None], ...
] = (
    (_ANY, Outcome.TOKENS, _NONE, Status.READY, Moment.DUE),
    (_ANY, Outcome.NO_ACCESS_TOKEN, _NONE, Status.MISCONFIGURED, _SLOW),
    (_UNSENT, Outcome.UNKNOWN, _NONE, Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    (_SENT, Outcome.REUSABLE, _RECORDED, Status.UNCERTAIN, Moment.SOON),
    (_SENT, Outcome.ASKABLE, _RECORDED, Status.UNCERTAIN, _TRANSIENT),
    (_FIRST_OR_REUSE, Outcome.UNKNOWN, _RECORDED, Status.UNCERTAIN, Moment.LATE),
    (_REPEAT, Outcome.UNKNOWN, _RECORDED, Status.UNCERTAIN, _STOP),
    (_SENT, Outcome.SILENT, _RECORDED, Status.UNCERTAIN, _TRANSIENT),
    (_UNSENT, Outcome.SILENT, _NONE, Status.NEEDS_REAUTH, _TRANSIENT),
    (_UNSENT_OR_FIRST, Outcome.REFUSED, _NONE, Status.NEEDS_REAUTH, _SLOW),
    (_UNSENT_OR_FIRST, Outcome.REFUSED_AGAIN, _NONE, Status.NEEDS_REAUTH, _STOP),
    (_REUSE_OR_REPEAT, Outcome.REFUSED, _NONE, Status.LOST_ROTATION, _STOP),
    (_REUSE_OR_REPEAT, Outcome.REFUSED_AGAIN, _NONE, Status.LOST_ROTATION, _STOP),
    (_SENT, Outcome.INACTIVE, _NONE, Status.LOST_ROTATION, _STOP),
    (_UNSENT, Outcome.INACTIVE, _NONE, Status.NEEDS_REAUTH, _STOP),
    (_ANY, Outcome.LOGIN_OVER, _NONE, Status.NEEDS_REAUTH, _STOP),
    (_ANY, Outcome.LOGIN_REQUIRED, _NONE, Status.NEEDS_REAUTH, _STOP),
    (_UNSENT, Outcome.CLIENT_REFUSED, _NONE, Status.MISCONFIGURED, _SLOW),
    (_UNSENT, Outcome.SUBJECT_REFUSED, _NONE, Status.WAITS_FOR_LOGIN, _SLOW),
    (_UNSENT_OR_FIRST, Outcome.FAILED, _NONE, None, None),
    (_REUSE_OR_REPEAT, Outcome.FAILED, _EARLIER, Status.UNCERTAIN, None),
)
TRANSITIONS: Mapping[tuple[Sent, Outcome], Transition] = {
    (sent, outcome): Transition(intent, status, following)
    for sents, outcome, intent, status, following in _ROWS
    for sent in sents
}

FAILURE_RULES: Mapping[FailureReason, FailureRule] = {
    FailureReason.UNREACHABLE: FailureRule(Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    FailureReason.TLS: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.METADATA: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.THROTTLED: FailureRule(Status.ISSUER_UNAVAILABLE, _RETRY_AFTER),
    FailureReason.NO_ANSWER: FailureRule(Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    FailureReason.SERVER_ERROR: FailureRule(Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    FailureReason.BAD_REPLY: FailureRule(Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    FailureReason.REDIRECT: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.NO_ENDPOINT: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.FORBIDDEN: FailureRule(Status.ISSUER_UNAVAILABLE, _TRANSIENT),
    FailureReason.NO_OAUTH_ERROR: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.INVALID_GRANT: FailureRule(Status.NEEDS_REAUTH, _SLOW),
    FailureReason.LOGIN_REQUIRED: FailureRule(Status.NEEDS_REAUTH, _STOP),
    FailureReason.INVALID_CLIENT: FailureRule(Status.CLIENT_REJECTED, _SLOW),
    FailureReason.CLIENT_NOT_ALLOWED: FailureRule(Status.CLIENT_REJECTED, _SLOW),
    FailureReason.INVALID_SCOPE: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.INVALID_REQUEST: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.UNSUPPORTED_PROOF: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.UNKNOWN_ERROR: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.TOKEN_TYPE: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.BOUND_TOKEN: FailureRule(Status.MISCONFIGURED, _SLOW),
    FailureReason.NO_ASSERTION: FailureRule(Status.MISCONFIGURED, _TRANSIENT),
    FailureReason.CLIENT_KEY: FailureRule(Status.CLIENT_REJECTED, _TRANSIENT),
}
