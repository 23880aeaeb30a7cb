"""The requests of a login to an authorization server, with the client's authentication."""

from collections.abc import Mapping
from http import HTTPStatus

from csidriver.core.oauth.client_auth import authenticate
from csidriver.core.oauth.discovery import MetadataError, metadata_urls, parse_metadata
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.https_request import HttpsClient, HttpsRequest, HttpsResponse
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints, parse_login_metadata
from csidriver.kubectl.login.login_reply import read_tokens


def fetch_endpoints(https: HttpsClient, issuer: Issuer) -> LoginEndpoints:
    """Return the endpoints in an issuer's metadata, or raise LoginFailed."""
    body = fetch_metadata(https, issuer).body
    endpoints = parse_login_metadata(issuer, body)
    if issuer.name and not issuer.token_endpoint:
        try:
            parse_metadata(issuer, body)
        except MetadataError as error:
            raise LoginFailed(
                f"the driver would not refresh this login: of the metadata of {issuer.issuer} "
                f"{error}; ask the operator"
            ) from None
    return endpoints


def fetch_metadata(https: HttpsClient, issuer: Issuer) -> HttpsResponse:
    """Return the response with an issuer's metadata, or raise LoginFailed."""
    if not issuer.issuer:
        raise LoginFailed(
            f"issuer {issuer.name} has a token endpoint, but no metadata that names its login "
            "pages; get a token as its documentation says, or ask the operator for the issuer's "
            "address"
        )
    response: HttpsResponse | None = None
    for url in metadata_urls(issuer):
        response = https.send(HttpsRequest(url))
        if response.status == HTTPStatus.OK:
            return response
    status = "" if response is None else f" (HTTP {response.status})"
    raise LoginFailed(f"there is no metadata at {issuer.issuer}{status}; check the address")


class OAuthClient:
    """One client at the endpoints of one issuer."""

    def __init__(self, https: HttpsClient, endpoints: LoginEndpoints, client: Client) -> None:
        self.endpoints = endpoints
        self.client_id = client.client_id
        self._https = https
        self._credentials = authenticate(
            endpoints.client_auth, client.client_id, client.client_secret
        )

    def post(self, url: str, form: Mapping[str, str]) -> HttpsResponse:
        """Send a form with the client's credentials."""
        credentials = self._credentials
        return self._https.send(
            HttpsRequest(url, {**form, **credentials.form}, credentials.headers)
        )

    def redeem(self, form: Mapping[str, str]) -> TokenDocument:
        """Return the tokens for a code, or raise LoginFailed."""
        response = self.post(self.endpoints.token, form)
        return read_tokens(response.status, response.body)
