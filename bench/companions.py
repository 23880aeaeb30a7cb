"""Companions at a real API server, written with the refresher's own rights."""

import base64
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import urllib3

from bench import marked
from csidriver.core import annotations, names
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import DriverError

NAMESPACE = "physics"
_COLLECTION = f"/api/v1/namespaces/{names.TOKENS_NAMESPACE}/secrets"
_MERGE = "application/merge-patch+json"


class Companions:
    """Writes companions over one connection that stays open, as a refresher has it.

    `owner` is the uid of their namespace.
    """

    def __init__(self, server: str, kubeconfig: Path, authority: Path, owner: str) -> None:
        self._owner = owner
        self._server = server
        (user,) = json.loads(kubeconfig.read_text(encoding="utf-8"))["users"]
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self._pool = urllib3.PoolManager(ca_certs=str(authority), maxsize=1)
        self._generation = 1

    def create(self, refs: Iterable[SourceRef]) -> None:
        """Make the companions of these sources, each with a token."""
        for ref in refs:
            made = self._companion(ref)
            secret = Secret(
                names.TOKENS_NAMESPACE,
                ref.companion,
                type=annotations.COMPANION_SECRET_TYPE,
                annotations=made.annotations(),
                data=made.data(),
            )
            self._request("POST", _COLLECTION, secret.to_manifest(), "application/json")

    def change(self, ref: SourceRef, size: int = marked.SIZE) -> str:
        """Bring a new token of so many bytes; returns it when the API server has answered."""
        self._generation += 1
        made = self._companion(ref, size)
        data = {k: base64.b64encode(v.reveal().encode()).decode() for k, v in made.data().items()}
        body = {"metadata": {"annotations": made.annotations()}, "data": data}
        self._request("PATCH", f"{_COLLECTION}/{ref.companion}", body, _MERGE)
        return made.token.value.reveal() if made.token else ""

    def _companion(self, ref: SourceRef, size: int = marked.SIZE) -> Companion:
        now = time.time()
        value = Sensitive(marked.token(size))
        token = AccessToken(value, "Bearer", now, now + 3600, now)
        known = (ref, "uid-1", self._generation, Status.READY, "", now + 1800, token)
        return Companion(*known, self._owner)

    def _request(self, method: str, path: str, body: Mapping[str, Any], kind: str) -> None:
        answer = self._pool.request(
            method,
            self._server + path,
            body=json.dumps(body),
            headers={**self._headers, "Content-Type": kind},
        )
        if answer.status not in {200, 201}:
            raise DriverError(f"{method} {path}: the API server answered {answer.status}")
