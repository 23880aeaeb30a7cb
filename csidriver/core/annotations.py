"""Annotations, Secret types and Secret keys: the interface to users, and between the roles.

`docs/architecture.md` specifies each of them.
"""

from csidriver.core.names import DRIVER_NAME

PREFIX = f"{DRIVER_NAME}/"
COMPAT_PREFIX = "oauth2-refresh-controller.cern.ch/"

# On a user's Secret.
IS_TOKEN = f"{COMPAT_PREFIX}is-token"
ISSUER = f"{PREFIX}issuer"
KEY_OAUTH = "oauth"
KEY_OAUTH_ALIAS = "oauth2"  # what CERN's eosxd-csi documentation calls it
KEY_CLIENT_ID = "clientID"
KEY_CLIENT_SECRET = "clientSecret"  # noqa: S105 - the key's name, not a secret

# On a user's pod.
TO_INJECT = f"{COMPAT_PREFIX}to-inject"

# Written by the refresher: on sources and companions.
STATUS = f"{PREFIX}status"
MESSAGE = f"{PREFIX}message"
WARNING = f"{PREFIX}warning"
EXPIRES_AT = f"{PREFIX}expires-at"
REFRESHED_AT = f"{PREFIX}refreshed-at"
NEXT_REFRESH = f"{PREFIX}next-refresh"
GENERATION = f"{PREFIX}generation"
SOURCE_NAMESPACE = f"{PREFIX}source-namespace"
SOURCE_NAME = f"{PREFIX}source-name"
SOURCE_UID = f"{PREFIX}source-uid"
NAMESPACE_UID = f"{PREFIX}namespace-uid"
GRANT_TYPE = f"{PREFIX}grant"
COMPANION_TYPE = f"{PREFIX}access-token"
CERTIFICATE_TYPE = f"{PREFIX}webhook-certificate"
