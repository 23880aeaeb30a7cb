"""The endpoints and the scope of a login, from the issuer's metadata (RFC 8414, RFC 8628)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.json_object import json_object
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.server_text import is_web_address

OFFLINE_ACCESS = "offline_access"
_OPENID = "openid"


@dataclass(frozen=True, slots=True)
class LoginEndpoints:
    """URLs of one issuer; "" for what its metadata lacks.

    `sends_iss`: it names itself beside each code (RFC 9207).
    `client_auth` is how a client with a secret authenticates, one of `issuers.CLIENT_AUTH`.
    """

    issuer: str
    token: str
    authorization: str = ""
    device_authorization: str = ""
    scopes: tuple[str, ...] = ()
    sends_iss: bool = False
    client_auth: str = "basic"


def parse_login_metadata(issuer: Issuer, body: Sensitive) -> LoginEndpoints:
    """Return the endpoints that the metadata names, or raise LoginFailed."""
    metadata = json_object(body)
    if metadata is None:
        raise LoginFailed(f"the metadata of issuer {issuer.issuer} is not a JSON object")
    # RFC 8414 section 3.3: otherwise one server could send us to the pages of another.
    if metadata.get("issuer") != issuer.issuer:
        raise LoginFailed(
            f"the metadata found at {issuer.issuer} is of another issuer; check the address, a "
            "slash at its end counts"
        )

    def endpoint(name: str) -> str:
        url = metadata.get(name)
        if url is None:
            return ""
        if isinstance(url, str) and is_web_address(url, allow_http=issuer.internal):
            return url
        raise LoginFailed(f"the {name} in the metadata of {issuer.issuer} is not an https address")

    token = issuer.token_endpoint or endpoint("token_endpoint")
    if not token:
        raise LoginFailed(f"the metadata of {issuer.issuer} names no token_endpoint")
    return LoginEndpoints(
        issuer=issuer.issuer,
        token=token,
        authorization=endpoint("authorization_endpoint"),
        device_authorization=endpoint("device_authorization_endpoint"),
        scopes=_texts(metadata.get("scopes_supported")),
        sends_iss=metadata.get("authorization_response_iss_parameter_supported") is True,
        client_auth=_client_auth(metadata.get("token_endpoint_auth_methods_supported")),
    )


def choose_scope(asked: str, configured: Sequence[str], supported: Sequence[str]) -> str:
    """Return the scope of a login, "" for the server's default.

    `asked` is what the user demands, and is taken as it is. Otherwise `offline_access` is added if
    the server has it: without it a refresh token often ends with the session of the browser.
    """
    if asked:
        return asked
    scopes = list(configured) or [scope for scope in (_OPENID,) if scope in supported]
    if OFFLINE_ACCESS in supported and OFFLINE_ACCESS not in scopes:
        scopes.append(OFFLINE_ACCESS)
    return " ".join(scopes)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _client_auth(methods: Any) -> str:
    offered = _texts(methods)
    only_post = "client_secret_post" in offered and "client_secret_basic" not in offered
    return "post" if only_post else "basic"
