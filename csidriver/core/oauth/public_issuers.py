"""The issuers as every user may see them: the document in ConfigMap `oauth2-csi-issuers-public`.

It is issuer configuration with fewer keys. The refresher renders it, `kubectl oauth2-csi` parses
it.
"""

import json
from collections.abc import Mapping
from typing import Any

from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.login_settings import KEYS as LOGIN_KEYS
from csidriver.errors import InvalidSettings

# The data key.
ISSUERS_JSON = "issuers.json"
# Not caFile, a path in the refresher, nor proxy, which is none of the user's.
_KEYS = ("name", "issuer", "tokenEndpoint", "default", "internal", "endpointHosts", "namespaces")


def render_public_issuers(issuers: Issuers) -> str:
    """Return the document: the same bytes for the same configuration."""
    by_name = sorted(issuers.by_name.values(), key=lambda issuer: issuer.name)
    return json.dumps({"issuers": [_public(issuer) for issuer in by_name]}, indent=1)


def parse_public_issuers(text: str) -> Issuers:
    """Return the issuers of a document; raises InvalidSettings.

    Keys that a later version has added are left out.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSettings("issuers", [f"{ISSUERS_JSON} is not JSON"]) from error
    entries = document.get("issuers") if isinstance(document, dict) else None
    if isinstance(entries, list):
        document = {"issuers": [_known(entry) for entry in entries]}
    return Issuers.parse([(ISSUERS_JSON, document)])


def _public(issuer: Issuer) -> dict[str, Any]:
    public = {
        "name": issuer.name,
        "issuer": issuer.issuer,
        "tokenEndpoint": issuer.token_endpoint,
        "default": issuer.default,
        "internal": issuer.internal,
        "endpointHosts": list(issuer.endpoint_hosts),
        "namespaces": list(issuer.namespaces),
    }
    return public if issuer.login is None else public | {"login": issuer.login.to_json()}


def _known(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    known = {key: entry[key] for key in _KEYS if key in entry}
    login = entry.get("login")
    if isinstance(login, Mapping):
        login = {key: login[key] for key in LOGIN_KEYS if key in login}
    return known | {"login": login}
