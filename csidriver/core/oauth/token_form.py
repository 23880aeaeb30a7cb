"""Forms of token requests, but for the fields that authenticate the client.

A form is a sequence of pairs, because a name may repeat (RFC 8693 section 2.1, RFC 8707 section 2).
The configuration of the issuer and the annotations of a source decide which names may be sent; here
nobody checks again.
"""

from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import Params
from csidriver.core.sensitive import Sensitive

Form = tuple[tuple[str, Sensitive], ...]


def refresh_form(issuer: Issuer, refresh_token: Sensitive) -> Form:
    """Return the form that presents a refresh token (RFC 6749 section 6)."""
    return _form(issuer, GrantType.REFRESH_TOKEN, (("refresh_token", refresh_token),), ())


def client_credentials_form(issuer: Issuer, params: Params) -> Form:
    """Return the form of a client's own token (RFC 6749 section 4.4); `params` are the source's."""
    return _form(issuer, GrantType.CLIENT_CREDENTIALS, (), params)


def token_exchange_form(issuer: Issuer, subject_token: Sensitive, params: Params) -> Form:
    """Return the form that makes another token of an access token (RFC 8693 section 2.1)."""
    subject = (
        ("subject_token", subject_token),
        ("subject_token_type", Sensitive(issuer.token_exchange.subject_token_type)),
    )
    return _form(issuer, GrantType.TOKEN_EXCHANGE, subject, params)


def _form(issuer: Issuer, grant_type: GrantType, grant: Form, params: Params) -> Form:
    """Put a form together; a source's value of a name replaces all that the issuer has for it."""
    replaced = {name for name, _ in params}
    scope = (("scope", issuer.scope),) if issuer.scope else ()
    kept = tuple(pair for pair in (*scope, *issuer.params) if pair[0] not in replaced)
    texts = tuple((name, Sensitive(text)) for name, text in (*kept, *params))
    return (("grant_type", Sensitive(grant_type.parameter)), *grant, *texts)
