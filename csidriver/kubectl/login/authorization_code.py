"""The authorization code flow: its address, and the checks of the redirect that comes back.

RFC 6749 section 4.1 with PKCE (RFC 7636, S256 only), for a redirect to this machine (RFC 8252
section 7.3), with the check of the issuer (RFC 9207).
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints
from csidriver.kubectl.login.login_reply import LoginRefused

# 32 bytes are 43 characters, as RFC 7636 section 4.1 recommends.
_RANDOM_BYTES = 32
_MOST_PARAMETERS = 64
_AGAIN = "run the command again, and use only the browser page that it opens"


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """One login in the browser: what is sent, and what must come back."""

    endpoints: LoginEndpoints
    client_id: str
    scope: str
    redirect_uri: str
    params: Mapping[str, str]
    state: Sensitive
    verifier: Sensitive

    @classmethod
    def new(
        cls,
        endpoints: LoginEndpoints,
        client_id: str,
        scope: str,
        redirect_uri: str,
        params: Mapping[str, str],
    ) -> "CodeRequest":
        """Return a request with a new state and a new verifier."""
        state, verifier = (Sensitive(secrets.token_urlsafe(_RANDOM_BYTES)) for _ in range(2))
        return cls(endpoints, client_id, scope, redirect_uri, params, state, verifier)

    @property
    def url(self) -> str:
        """The address that the user opens."""
        own = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": self.state.reveal(),
            "code_challenge": code_challenge(self.verifier),
            "code_challenge_method": "S256",
        }
        # Parameters of the issuer never replace those of the flow.
        query = urlencode({**self.params, **{name: value for name, value in own.items() if value}})
        endpoint = self.endpoints.authorization
        # RFC 6749 section 3.1: the endpoint may have a query, which must be kept.
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    def token_form(self, code: Sensitive) -> dict[str, str]:
        """Return the fields of the token request, which hold secrets."""
        return {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier.reveal(),
        }

    def read_redirect(self, query: Sensitive) -> Sensitive:
        """Return the code of a redirect; raise LoginFailed if it is not of this login."""
        found = _parameters(query)
        if Sensitive(found.get("state", "")) != self.state:
            raise LoginFailed(f"the browser brought an answer to another login (state); {_AGAIN}")
        self._check_issuer(found)
        if "error" in found:
            raise LoginRefused(found["error"])
        if not found.get("code"):
            raise LoginFailed(f"the browser brought neither a code nor an error; {_AGAIN}")
        return Sensitive(found["code"])

    def read_pasted(self, text: Sensitive) -> Sensitive:
        """Return the code of the address to which the browser was sent, as the user pasted it."""
        address = text.reveal().strip()
        base, _, query = address.partition("?")
        if base.rstrip("/") != self.redirect_uri.rstrip("/"):
            raise LoginFailed(
                f"this is not the address to which the browser was sent: it begins with "
                f"{self.redirect_uri}?"
            )
        return self.read_redirect(Sensitive(query.partition("#")[0]))

    def _check_issuer(self, found: Mapping[str, str]) -> None:
        """Check `iss`: a server that announces it must send it (RFC 9207 section 2.4)."""
        iss = found.get("iss")
        if iss is None and not self.endpoints.sends_iss:
            return
        if iss != self.endpoints.issuer:
            raise LoginFailed(
                f"the answer in the browser is not of issuer {self.endpoints.issuer} (iss); "
                f"{_AGAIN}"
            )


def code_challenge(verifier: Sensitive) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.reveal().encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _parameters(query: Sensitive) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.reveal(), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise LoginFailed(f"the browser brought an answer that cannot be read; {_AGAIN}") from None
    # RFC 6749 section 3.1.
    if len({name for name, _ in pairs}) < len(pairs):
        raise LoginFailed(f"the browser brought a parameter twice; {_AGAIN}")
    return dict(pairs)
