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


def token_form(
    issuer: Issuer, grant_type: GrantType, token: Sensitive | None = None, params: Params = ()
) -> Form:
    """Return the form of a grant, which presents a token unless it is `client_credentials`.

    A source's `params` of a name replace all that the issuer has for it.
    """
    fields: Form = (("grant_type", Sensitive(grant_type.parameter)),)
    if token is not None and grant_type is GrantType.TOKEN_EXCHANGE:
        kind = Sensitive(issuer.token_exchange.subject_token_type)
        fields = (*fields, ("subject_token", token), ("subject_token_type", kind))
    elif token is not None:
        fields = (*fields, ("refresh_token", token))
    replaced = {name for name, _ in params}
    scope = (("scope", issuer.scope),) if issuer.scope else ()
    kept = [pair for pair in (*scope, *issuer.params) if pair[0] not in replaced]
    return (*fields, *((name, Sensitive(text)) for name, text in (*kept, *params)))
