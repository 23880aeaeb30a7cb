"""The selection of the issuer to which a new token is bound (docs/protocol.md 3)."""

from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.quoting import quote_untrusted
from csidriver.errors import NoIssuer


def select_issuer(issuers: Issuers, namespace: str, wanted: str, iss: str) -> Issuer:
    """Return the issuer of a source, or raise NoIssuer.

    `wanted` is the source's annotation ("" if absent), `iss` the claim of its access token.
    """
    if wanted:
        chosen = issuers.by_name.get(wanted)
        reason = f"issuer {quote_untrusted(wanted)} is not configured"
    else:
        by_issuer = [i for i in issuers.by_name.values() if iss and i.issuer == iss]
        fallback = [i for i in issuers.by_name.values() if i.default]
        chosen = next(iter(by_issuer + fallback), None)
        reason = "no issuer is configured as default"
    if chosen is None:
        raise NoIssuer(f"{reason}; ask the operator, or name one in the annotation issuer")
    if chosen.namespaces and namespace not in chosen.namespaces:
        raise NoIssuer(f"issuer {chosen.name!r} is not open to namespace {namespace!r}")
    return chosen
