"""Client authentication at the endpoints of an issuer (RFC 6749 section 2.3.1, RFC 7521 4.2)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from csidriver.core.sensitive import Sensitive

# Methods without a secret that client and server share.
ASSERTION_METHODS = ("private_key_jwt", "assertion")


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Form fields and headers that authenticate a client. Both may contain its secret."""

    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def authenticate(method: str, client_id: str, client_secret: Sensitive) -> ClientAuthentication:
    """Return what to add to a request; `method` is one of `issuers.CLIENT_AUTH` with a secret.

    A public client, one without a secret, only sends its `client_id`.
    """
    secret = client_secret.reveal()
    if not secret or method == "none":
        return ClientAuthentication({"client_id": client_id})
    if method == "post":
        return ClientAuthentication({"client_id": client_id, "client_secret": secret})
    # basic_raw is for servers that do not decode the form encoding that the RFC demands.
    encode = str if method == "basic_raw" else quote_plus
    pair = f"{encode(client_id)}:{encode(secret)}".encode()
    header = f"Basic {base64.b64encode(pair).decode('ascii')}"
    return ClientAuthentication(headers={"Authorization": header})


def present_assertion(client_id: str, kind: str, assertion: Sensitive) -> ClientAuthentication:
    """Return what to add to a request of a client that somebody vouches for with an assertion.

    RFC 7521 makes `client_id` optional; Entra demands it.
    """
    fields = {"client_assertion_type": kind, "client_assertion": assertion.reveal()}
    return ClientAuthentication(({"client_id": client_id} if client_id else {}) | fields)
