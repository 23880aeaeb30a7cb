"""The floor of a refresh: the same HTTP exchanges by bare calls, without any of the rules.

One POST to the authorization server, and the four writes in their order: the intent and the new
document into the grant, the companion, the mirror in the source. Bodies are as large.
"""

import base64
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.errors import DriverError
from tests.cluster.controlplane import ControlPlane

# As many as the refresher has workers.
THREADS = 8
_SECRETS = "/api/v1/namespaces/default/secrets"
_INTENT = "i" * 64


class BareRefresh:
    """Refreshes tokens that no refresher knows of, in Secrets of their own."""

    def __init__(self, plane: ControlPlane, url: str, lives: Sequence[Sensitive]) -> None:
        (user,) = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))["users"]
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self._api = urllib3.PoolManager(ca_certs=str(plane.ca), maxsize=THREADS)
        self._issuer = urllib3.PoolManager(maxsize=THREADS)
        self._server, self._url = plane.server, f"{url}/token"
        secret = (DEMO_CLIENT.client_secret or Sensitive("")).reveal()
        self._basic = urllib3.make_headers(basic_auth=f"{DEMO_CLIENT.client_id}:{secret}")
        self._lives = [live.reveal() for live in lives]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._prepare, range(len(lives))))

    def run(self) -> float:
        """Refresh all once; refreshes a second."""
        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._refresh, range(len(self._lives))))
        return len(self._lives) / (time.monotonic() - began)

    def _prepare(self, number: int) -> None:
        for kind in ("source", "grant", "companion"):
            manifest = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"bare-{kind}-{number}"},
            }
            self._write("POST", _SECRETS, manifest, "application/json")

    def _refresh(self, number: int) -> None:
        self._patch("grant", number, {"metadata": {"annotations": {"intent": _INTENT}}})
        form = {"grant_type": "refresh_token", "refresh_token": self._lives[number]}
        answer = self._issuer.request_encode_body(
            "POST", self._url, fields=form, headers=self._basic, encode_multipart=False
        )
        if answer.status != 200:  # noqa: PLR2004
            raise DriverError(f"the authorization server answered {answer.status}")
        reply = answer.json()
        self._lives[number] = reply["refresh_token"]
        whole = base64.b64encode(answer.data).decode()
        token = base64.b64encode(reply["access_token"].encode()).decode()
        self._patch("grant", number, {"data": {"document": whole}})
        self._patch("companion", number, {"data": {"access_token": token}})
        self._patch("source", number, {"data": {"oauth": whole}})

    def _patch(self, kind: str, number: int, body: Mapping[str, Any]) -> None:
        path = f"{_SECRETS}/bare-{kind}-{number}"
        self._write("PATCH", path, body, "application/merge-patch+json")

    def _write(self, method: str, path: str, body: Mapping[str, Any], kind: str) -> None:
        headers = {**self._headers, "Content-Type": kind}
        answer = self._api.request(
            method, self._server + path, body=json.dumps(body), headers=headers
        )
        if answer.status not in {200, 201}:
            raise DriverError(f"{method} {path}: the API server answered {answer.status}")
