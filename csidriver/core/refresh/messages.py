"""The messages of a token's statuses and warnings, as users read them."""

from collections.abc import Mapping

from csidriver.core.status import TokenWarning

READY_MESSAGE = "the access token is fresh"
PENDING_MESSAGE = "the first refresh is under way"
DELAYED_MESSAGE = (
    "the authorization server fails or asks to slow down; the refresh is tried as soon as it allows"
)
LOST_ROTATION_MESSAGE = (
    "a refresh was cut off and the authorization server no longer knows the refresh token; "
    "log in again and put the new token into the Secret"
)
UNCERTAIN_MESSAGE = (
    "the outcome of a refresh is unknown; it is tried once more before the access token expires, "
    "a new login settles it at once"
)
DUPLICATE_MESSAGE = (
    "{other} holds a refresh token of the same login and had it first; log in separately for each "
    "Secret, or delete one of them"
)
UNREADABLE_GRANT_MESSAGE = (
    "Secret {grant}, which holds the live refresh token, cannot be read; restore it from a backup, "
    "or log in again, put the new token into this Secret and delete that one"
)
EMPTY_GRANT_MESSAGE = (
    "Secret {grant} holds no refresh token that may be sent; restore it from a backup, or log in "
    "again and put the new token into this Secret"
)
SCOPE_REFUSED_MESSAGE = (
    "the access token is fresh; the issuer's scope is refused, so the token has that of the login"
)
UNCERTAIN_TWICE_MESSAGE = (
    "the outcome of a refresh is unknown, and so is that of its repetition; log in again and put "
    "the new token into the Secret"
)
WARNINGS: Mapping[TokenWarning, str] = {
    TokenWarning.REFRESH_TOKEN_EXPIRING: "the refresh token expires soon; log in again",
    TokenWarning.OLD_SEED_RESTORED: (
        "the Secret holds a refresh token that was replaced long ago; the live one is kept and "
        "comes back with the next refresh"
    ),
    TokenWarning.TRAILING_BYTES: (
        "the document ends in a brace too many; the next refresh corrects it"
    ),
    TokenWarning.DEFAULT_LIFETIME: (
        "the authorization server says no credible lifetime; the issuer's defaultLifetime is used"
    ),
    TokenWarning.MIRROR_REFUSED: (
        "the Secret cannot be updated (immutable, a quota or an admission policy); pods get fresh "
        "tokens all the same"
    ),
}
