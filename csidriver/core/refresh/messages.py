"""The messages of statuses and warnings for users. Most end in the remedy.

Those that ask for a login get the command for it (`core.login_command`) where users see them.
"""

from collections.abc import Mapping

from csidriver.core.annotations import REFRESH_REQUESTED_AT
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.status import TokenWarning

READY_MESSAGE = "the access token is fresh"
PENDING_MESSAGE = "the first refresh is under way"
DELAYED_MESSAGE = (
    "the authorization server fails or asks to slow down; the refresh is tried as soon as it allows"
)
LOST_ROTATION_MESSAGE = (
    "a refresh was cut off and the authorization server no longer knows the refresh token; "
    "log in again"
)
UNCERTAIN_MESSAGE = (
    "the outcome of a refresh is unknown; the authorization server is asked, or the refresh tried "
    "once more, as soon as it answers; a new login ends this at once"
)
DUPLICATE_MESSAGE = (
    "{other} has a refresh token of the same login and was first; delete one of them, or log in "
    "separately for this one"
)
UNREADABLE_GRANT_MESSAGE = (
    "Secret {grant}, which holds the live refresh token, cannot be read; restore it from a backup, "
    "or delete it and log in again"
)
TOO_MANY_MESSAGE = (
    "namespace {namespace} has tokens of {most} Secrets already, as many as it may; delete one of "
    "them, or ask the operator for a higher tokensPerNamespace"
)
DELETED_MESSAGE = "the Secret was deleted, or lost its annotation; create it again"
EARLIER_NAMESPACE_MESSAGE = (
    "the refresh token was used by a Secret of an earlier namespace of this name; log in again"
)
EMPTY_GRANT_MESSAGE = (
    "Secret {grant} has no usable refresh token; restore it from a backup, or log in again"
)
SCOPE_REFUSED_MESSAGE = (
    "the access token is fresh; the issuer's scope is refused, so the token has that of the login"
)
WAITS_MESSAGE = "Secret {login}, from whose access token this one is made, {state}; run: {command}"
NESTED_LOGIN_MESSAGE = (
    "annotation {key} names Secret {login}, which has no login of its own; name one that has"
)
KEPT_LOGIN_MESSAGE = (
    "the Secret has a refresh token of issuer {issuer!r}; name that in annotation {key}"
)
OTHER_ISSUER_MESSAGE = (
    "Secret {login} and its client are of another issuer; set a clientID in this Secret, too"
)
WIDER_SCOPE_MESSAGE = (
    "the new token has more scope than Secret {login}: {words}; ask for less in annotation {key}, "
    "or the operator for tokenExchange: {{widerScope: true}}"
)
SAME_AUDIENCE_MESSAGE = (
    "the new token has the audience of Secret {login}, although another was asked for; check the "
    "client there, or ask the operator for tokenExchange: {{sameAudience: true}}"
)
UNCERTAIN_TWICE_MESSAGE = (
    "the outcome of a refresh is unknown, and so is that of its repetition; log in again"
)
FAILURE_MESSAGES: Mapping[FailureReason, str] = {
    FailureReason.UNREACHABLE: "the authorization server cannot be reached",
    FailureReason.TLS: (
        "the authorization server's certificate is not trusted (check caFile), or it demands one "
        "of the driver"
    ),
    FailureReason.METADATA: (
        "the issuer's metadata does not match its configuration; check issuer and endpointHosts"
    ),
    FailureReason.THROTTLED: "the authorization server asks to slow down",
    FailureReason.NO_ANSWER: "the authorization server took the request and did not answer",
    FailureReason.SERVER_ERROR: "the authorization server failed",
    FailureReason.BAD_REPLY: (
        "the authorization server's answer has no usable token: none, or an access token with "
        f"other than visible characters, with a colon, or of more than {MAX_ACCESS_TOKEN // 1024} "
        "KiB"
    ),
    FailureReason.REDIRECT: "the token endpoint redirects; check the issuer's tokenEndpoint",
    FailureReason.INVALID_GRANT: "the refresh token is no longer valid; log in again",
    FailureReason.LOGIN_REQUIRED: "the user must log in again",
    FailureReason.INVALID_CLIENT: "clientID or clientSecret is refused; correct them in the Secret",
    FailureReason.CLIENT_NOT_ALLOWED: (
        "the client may not use the grant {grant_type}; allow it for this client"
    ),
    FailureReason.INVALID_SCOPE: (
        "the requested scope, audience or resource is refused; check the issuer's scope and "
        "params, and what the annotations of the Secret ask for"
    ),
    FailureReason.INVALID_REQUEST: (
        "the authorization server does not understand the request; check the issuer's clientAuth"
    ),
    FailureReason.UNSUPPORTED_PROOF: (
        "the client demands DPoP, which token files cannot carry; turn it off for this client"
    ),
    FailureReason.FORBIDDEN: "the authorization server forbids the request",
    FailureReason.NO_ENDPOINT: "the configured address has no token endpoint; check the issuer",
    FailureReason.NO_OAUTH_ERROR: (
        "the token endpoint's answer has no OAuth error; is something in front of it? If not, "
        "clientID or clientSecret may be wrong"
    ),
    FailureReason.UNKNOWN_ERROR: "the authorization server answers with an unknown error",
    FailureReason.TOKEN_TYPE: "the authorization server issues no Bearer tokens to this client",
    FailureReason.BOUND_TOKEN: (
        "the access token is bound to a key or certificate of the client (claim cnf, or DPoP), "
        "whose proof a file cannot carry; turn that off for this client"
    ),
    FailureReason.NO_ASSERTION: (
        "the driver cannot make the client's assertion; the refresher's log says what is wrong "
        "with the file of the issuer's assertion or privateKey"
    ),
    FailureReason.CLIENT_KEY: (
        "clientKey is not a private key in PEM that fits the issuer's alg; correct it in the Secret"
    ),
}
_CLIENT_REFUSED = (
    "the authorization server refuses the grant {grant_type} to this client, or wants a user's "
    "login; check the client"
)
# Where a grant without a refresh token has another text.
_REPEATABLE_MESSAGES: Mapping[FailureReason, str] = {
    FailureReason.INVALID_GRANT: _CLIENT_REFUSED,
    FailureReason.LOGIN_REQUIRED: _CLIENT_REFUSED,
    FailureReason.INVALID_CLIENT: (
        "the client's credentials are refused, or it may not use the grant {grant_type}, or the "
        "audience is unknown; correct them, or allow it for this client"
    ),
    FailureReason.INVALID_REQUEST: (
        "the authorization server refuses the request; check that the client may use the grant "
        "{grant_type}, and for this audience, and for a derived token that the login is still valid"
    ),
}
WARNINGS: Mapping[TokenWarning, str] = {
    TokenWarning.REFRESH_TOKEN_EXPIRING: "the refresh token expires soon",
    TokenWarning.OLD_SEED_RESTORED: (
        "the Secret has a refresh token that was replaced long ago; the live one is kept and "
        "comes back with the next refresh"
    ),
    TokenWarning.TRAILING_BYTES: "the document has surplus braces; the next refresh removes them",
    TokenWarning.DEFAULT_LIFETIME: (
        "the authorization server did not return a valid token lifetime; the issuer's "
        "defaultLifetime is used"
    ),
    TokenWarning.INVALID_REFRESH_REQUEST: (
        f"annotation {REFRESH_REQUESTED_AT} is ignored: it is not an instant in RFC 3339, such as "
        "2026-11-23T18:51:00Z"
    ),
    TokenWarning.MIRROR_REFUSED: (
        "the Secret cannot be updated (immutable, a quota or an admission policy); pods get fresh "
        "tokens all the same"
    ),
}


def failure_message(reason: FailureReason, grant_type: GrantType) -> str:
    own = _REPEATABLE_MESSAGES if grant_type.is_repeatable else {}
    return own.get(reason, FAILURE_MESSAGES[reason]).format(grant_type=grant_type.value)
