"""The selection of the issuer to which a new token is bound (docs/protocol.md 3)."""

import re

from csidriver.core.annotations import ISSUER
from csidriver.core.kubernetes.validation import is_dns1123_label
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.errors import NoIssuer

# A longer word may be a token in the wrong place: a UUID has 36 characters.
_LONGEST_NAME = 24
_LONGEST_URL = 128
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?", re.ASCII)
# An Event has room for 1024 characters.
_MOST_LISTED = 4


def select_issuer(issuers: Issuers, namespace: str, wanted: str, iss: str) -> Issuer:
    """Return the issuer of a source, or raise NoIssuer.

    `wanted` is the source's annotation ("" if absent), `iss` the claim of its access token. A token
    that names an unknown issuer is not the default one's, which must not receive it.
    """
    if wanted:
        found = [issuers.by_name[wanted]] if wanted in issuers.by_name else []
        known = is_dns1123_label(wanted) and len(wanted) <= _LONGEST_NAME
        name = f"issuer {wanted!r}" if known else "the issuer in the Secret's annotation"
        reason = f"{name} is not configured"
    elif iss:
        found = _find_by_iss(issuers, iss)
        plain = len(iss) <= _LONGEST_URL and _PLAIN_URL.fullmatch(iss)
        name = f"issuer {iss!r}" if plain else "an issuer whose name is not a plain URL"
        reason = f"the access token is of {name}, which is not configured"
    else:
        found = [issuer for issuer in issuers.by_name.values() if issuer.default]
        reason = "no issuer is configured as default"
    if not found:
        listed = _list_open(issuers, namespace)
        raise NoIssuer(f"{reason}; ask the operator, or name one in annotation {ISSUER}: {listed}")
    chosen = found[0]
    if not chosen.is_open_to(namespace):
        raise NoIssuer(f"issuer {chosen.name!r} is not open to namespace {namespace!r}")
    return chosen


def _find_by_iss(issuers: Issuers, iss: str) -> list[Issuer]:
    """Return the issuers with this `iss`, the one that matches byte for byte first."""
    bare = iss.removesuffix("/")
    found = [
        issuer
        for issuer in issuers.by_name.values()
        for known in (issuer.issuer, *issuer.access_token_issuers)
        if bare and bare == known.removesuffix("/")
    ]
    return sorted(found, key=lambda issuer: issuer.issuer != iss)


def _list_open(issuers: Issuers, namespace: str) -> str:
    """Return the issuers that the namespace may use."""
    usable = [issuer for issuer in issuers.by_name.values() if issuer.is_open_to(namespace)]
    texts = [f"{issuer.name} ({issuer.identifier})" for issuer in usable[:_MOST_LISTED]]
    if len(usable) > _MOST_LISTED:
        texts.append(f"{len(usable) - _MOST_LISTED} more")
    return ", ".join(texts) or "none is configured for this namespace"
