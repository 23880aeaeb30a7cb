"""A refresher with everything real around it, the authorization server included: not ours."""

from pathlib import Path
from typing import Any

from csidriver.core import annotations as core_annotations
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
        source["stringData"][core_annotations.KEY_CLIENT_ID] = self.client.client_id
        source["stringData"][core_annotations.KEY_CLIENT_SECRET] = (
            self.client.client_secret.reveal()
        )
        self.store.apply(source, NAMESPACE)

    def live(self, name: str) -> Sensitive:
        """The refresh token to be presented next."""
        token = self.grant(name).document.refresh_token
        assert token is not None
        return token
