"""A refresher with everything real around it, the authorization server included: not ours."""

from pathlib import Path
from typing import Any

import jwt

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core import annotations as core_annotations
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_form import token_form
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.refresher.bench import NAMESPACE, Bench, manifest


class Rig(Bench):
    """A bench whose refresher knows one issuer, a foreign one, and one client of it."""

    def __init__(self, folder: Path, issuer: str, client: Client, **fields: Any) -> None:
        super().__init__(folder)
        self.client = client
        entry = {"name": "peer", "issuer": issuer, "default": True, "internal": True}
        self.configure(entry | fields)

    def apply(self, name: str, refresh_token: Sensitive, **annotations: str) -> None:
        source = manifest(name, refresh_token.reveal(), **annotations)
        document = source["stringData"][core_annotations.KEY_OAUTH]
        source["stringData"] = {core_annotations.KEY_OAUTH: document} | self._credentials()
        self.store.apply(source, NAMESPACE)

    def apply_grant(self, name: str, grant_type: str, **annotations: str) -> None:
        source = manifest(name, "", **{"grant-type": grant_type}, **annotations)
        self.store.apply(source | {"stringData": self._credentials()}, NAMESPACE)

    def _credentials(self) -> dict[str, str]:
        values = {
            core_annotations.KEY_CLIENT_ID: Sensitive(self.client.client_id),
            core_annotations.KEY_CLIENT_SECRET: self.client.client_secret,
            core_annotations.KEY_CLIENT_KEY: self.client.private_key,
        }
        return {key: value.reveal() for key, value in values.items() if value}

    def message(self, name: str) -> str:
        return self.source(name).annotations.get(core_annotations.MESSAGE, "")

    def claims(self, name: str) -> dict[str, Any]:
        companion = self.companion(name)
        assert companion is not None
        return claims_in(companion.data["access_token"])

    def live(self, name: str) -> Sensitive:
        token = self.grant(name).document.refresh_token
        assert token is not None
        return token


def claims_in(token: Sensitive) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token.reveal(), options={"verify_signature": False})
    return claims


def own_token(issuer: Issuer, client: Client, *params: tuple[str, str]) -> TokenResponse:
    form = token_form(issuer, GrantType.CLIENT_CREDENTIALS, None, params)
    return TokenEndpoints().request(issuer, client, form, 30.0)
