"""The form fields of a token request that annotations ask for (docs/protocol.md 10.1)."""

import json
from collections.abc import Mapping

from csidriver.core.annotations import AUDIENCE, LOGIN, PARAMS, REQUEST_LIMIT, RESOURCE, SCOPE
from csidriver.core.kubernetes.validation import is_dns1123_subdomain
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import Params, is_allowable, to_pairs

_MOST_PARAMS = 64
_NAMES = {SCOPE: "scope", AUDIENCE: "audience", RESOURCE: "resource"}
REPEATABLE = [kind.value for kind in GrantType if kind.is_repeatable]


def parse_login(annotations: Mapping[str, str], grant_type: GrantType, problems: list[str]) -> str:
    """Return the name of the login, "" without one; add what is wrong with it."""
    name = annotations.get(LOGIN, "")
    exchanges = grant_type is GrantType.TOKEN_EXCHANGE
    if name and not exchanges:
        problems.append(f"annotation {LOGIN} is for grant-type token-exchange only")
    elif exchanges and not is_dns1123_subdomain(name):
        problems.append(f"annotation {LOGIN} must name the Secret whose token is exchanged")
    return name


def parse_params(
    annotations: Mapping[str, str], grant_type: GrantType, problems: list[str]
) -> Params:
    """Return the fields, whether or not the issuer allows them; add what is wrong with them."""
    pairs: list[tuple[str, str]] = []
    for key in (*_NAMES, PARAMS):
        text = annotations.get(key, "")
        found = _parse_pairs(key, text) if text else ()
        if text and not grant_type.is_repeatable:
            problems.append(f"annotation {key} is for grant-type {' or '.join(REPEATABLE)} only")
        elif len(text) >= REQUEST_LIMIT:
            problems.append(f"annotation {key} has more than {REQUEST_LIMIT - 1} characters")
        elif found is None:
            wanted = "a JSON object of names and texts" if key == PARAMS else "printable words"
            problems.append(f"annotation {key} must have {wanted}")
        elif {name for name, _ in found} & {name for name, _ in pairs}:
            problems.append(f"annotation {key} has a name that another annotation stands for")
        else:
            pairs += found
    if len(pairs) > _MOST_PARAMS:
        problems.append(f"the annotations ask for more than {_MOST_PARAMS} form fields")
    return tuple(pairs)


def _parse_pairs(key: str, text: str) -> Params | None:
    words = text.split()
    # The words of a scope are one field (RFC 6749 section 3.3).
    own = {_NAMES.get(key): [" ".join(words)] if key == SCOPE else words}
    try:
        return to_pairs(json.loads(text) if key == PARAMS else own)
    except (ValueError, RecursionError):
        return None


def refused_param(params: Params, issuer: Issuer) -> str:
    """Return why the issuer's configuration lets no source send one of these, "" if it does."""
    for name, _ in params:
        if name not in issuer.allowed_params:
            key = next((key for key, own in _NAMES.items() if own == name), PARAMS)
            cure = "ask the operator to add it to allowedParams"
            cure = cure if is_allowable(name) else "remove it"
            return f"annotation {key}: issuer {issuer.name!r} lets no Secret set {name!r}; {cure}"
    return ""
