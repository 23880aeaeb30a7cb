"""The issuers as every user may see them: the document in ConfigMap `oauth2-csi-issuers-public`.

It is issuer configuration with fewer keys. The refresher renders it, `kubectl oauth2-csi` parses
it.
"""

import json
from collections.abc import Mapping
from typing import Any

from csidriver.core.oauth.issuers import KEYS, Issuer, Issuers
from csidriver.core.oauth.json_object import json_object
from csidriver.core.oauth.login_settings import KEYS as LOGIN_KEYS
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings

# The data key.
ISSUERS_JSON = "issuers.json"
# Not ca_file, a path in the refresher, nor proxy, which is none of the user's.
_FIELDS = (
    "name",
    "issuer",
    "token_endpoint",
    "default",
    "internal",
    "endpoint_hosts",
    "namespaces",
)


def render_public_issuers(issuers: Issuers) -> str:
    """Return the document: the same bytes for the same configuration."""
    by_name = sorted(issuers.by_name.values(), key=lambda issuer: issuer.name)
    return json.dumps({"issuers": [_public(issuer) for issuer in by_name]}, indent=1)


def parse_public_issuers(text: str) -> Issuers:
    """Return the issuers of a document; raises InvalidSettings.

    Keys that a later version has added are left out.
    """
    document = json_object(Sensitive(text))
    if document is None:
        raise InvalidSettings("issuers", [f"{ISSUERS_JSON} is not JSON"])
    entries = document.get("issuers")
    known = [_known(entry) for entry in entries] if isinstance(entries, list) else None
    return Issuers.parse([(ISSUERS_JSON, {"issuers": known})])


def _public(issuer: Issuer) -> dict[str, Any]:
    public = {KEYS[name]: getattr(issuer, name) for name in _FIELDS}
    return public if issuer.login is None else public | {"login": issuer.login.to_json()}


def _known(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    known = {KEYS[name]: entry.get(KEYS[name]) for name in _FIELDS}
    login = entry.get("login")
    if isinstance(login, Mapping):
        login = {key: login.get(key) for key in LOGIN_KEYS}
    return known | {"login": login}
