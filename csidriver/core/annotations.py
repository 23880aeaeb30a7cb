"""Annotations, Secret types and Secret keys: the interface to users, and between the roles.

`docs/architecture.md` specifies each of them.
"""

from collections.abc import Mapping

from csidriver.core.names import DRIVER_NAME

PREFIX = f"{DRIVER_NAME}/"
COMPAT_PREFIX = "oauth2-refresh-controller.cern.ch/"

# On a user's Secret.
IS_TOKEN = f"{COMPAT_PREFIX}is-token"
ISSUER = f"{PREFIX}issuer"
GRANT_TYPE = f"{PREFIX}grant-type"
LOGIN = f"{PREFIX}login"
SCOPE = f"{PREFIX}scope"
AUDIENCE = f"{PREFIX}audience"
RESOURCE = f"{PREFIX}resource"
PARAMS = f"{PREFIX}params"
REFRESH_REQUESTED_AT = f"{PREFIX}refresh-requested-at"
KEY_OAUTH = "oauth"
KEY_OAUTH_ALIAS = "oauth2"  # what CERN's eosxd-csi documentation calls it
KEY_CLIENT_ID = "clientID"
KEY_CLIENT_SECRET = "clientSecret"  # noqa: S105 - the key's name, not a secret
KEY_CLIENT_KEY = "clientKey"  # of private_key_jwt (RFC 7523), in PEM

# On a user's pod.
TO_INJECT = f"{COMPAT_PREFIX}to-inject"

# Written by the refresher: on sources and companions.
STATUS = f"{PREFIX}status"
MESSAGE = f"{PREFIX}message"
WARNING = f"{PREFIX}warning"
EXPIRES_AT = f"{PREFIX}expires-at"
REFRESHED_AT = f"{PREFIX}refreshed-at"
NEXT_REFRESH = f"{PREFIX}next-refresh"
# Only on sources: the issuer that the token is bound to, and the end of a login that refreshes do
# not renew.
BOUND_ISSUER = f"{PREFIX}bound-issuer"
LOGIN_EXPIRES_AT = f"{PREFIX}login-expires-at"
GENERATION = f"{PREFIX}generation"
SOURCE_NAMESPACE = f"{PREFIX}source-namespace"
SOURCE_NAME = f"{PREFIX}source-name"
SOURCE_UID = f"{PREFIX}source-uid"
NAMESPACE_UID = f"{PREFIX}namespace-uid"
GRANT_SECRET_TYPE = f"{PREFIX}grant"
COMPANION_SECRET_TYPE = f"{PREFIX}access-token"
CERTIFICATE_SECRET_TYPE = f"{PREFIX}webhook-certificate"

# The most bytes of a document in a source. Real documents have 2 to 8 KiB.
MAX_DOCUMENT = 32 * 1024
# Of client credentials in a grant, which has them beside a document of up to 896 KiB, while a
# Secret has at most 1 MiB. Larger ones could make a reply impossible to store.
MAX_STORED_CREDENTIAL = 16 * 1024
# The data keys of sources, grants, companions and the webhook's certificates, and the most bytes
# that are decoded. Of a longer value the parser gets one byte more at least, so that it can tell.
_OTHER_KEYS = (
    *("document", "state", "access_token", "token_type", "issued_at", "expires_at", "written_at"),
    *("ca.crt", "ca.key", "tls.crt", "tls.key"),
)
DATA_LIMITS: Mapping[str, int] = {
    **dict.fromkeys((KEY_OAUTH, KEY_OAUTH_ALIAS), MAX_DOCUMENT),
    **dict.fromkeys((KEY_CLIENT_ID, KEY_CLIENT_SECRET, KEY_CLIENT_KEY), MAX_STORED_CREDENTIAL),
    **dict.fromkeys(_OTHER_KEYS, 4 << 20),
}
# Characters that are read of each annotation: a message has up to some 1,000, others a name's.
_ANNOTATIONS = (
    *(IS_TOKEN, ISSUER, GRANT_TYPE, LOGIN, TO_INJECT),
    *(STATUS, WARNING, EXPIRES_AT, REFRESHED_AT, NEXT_REFRESH, BOUND_ISSUER, LOGIN_EXPIRES_AT),
    *(REFRESH_REQUESTED_AT, GENERATION, SOURCE_NAMESPACE, SOURCE_NAME, SOURCE_UID, NAMESPACE_UID),
)
# A longer value is cut, so one that has all of these is refused.
REQUEST_LIMIT = 4096
_REQUEST = (SCOPE, AUDIENCE, RESOURCE, PARAMS)
LIMITS: Mapping[str, int] = {
    **dict.fromkeys(_ANNOTATIONS, 256),
    **dict.fromkeys(_REQUEST, REQUEST_LIMIT),
    MESSAGE: 2048,
}
