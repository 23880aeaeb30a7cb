"""A namespace with all that a tenant may have, whose Secrets are edited all the time."""

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import urllib3

from csidriver.core import annotations
from csidriver.core.refresh.source import MAX_CREDENTIAL, MAX_FIELDS
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from tests.cluster.controlplane import ControlPlane
from tests.cluster.tenants.measuring import meanwhile
from tests.issuer.issuer import ScriptedIssuer

# One emoji makes four bytes of each character of a text in Python.
EMOJI = "\U0001f600"
# Bytes of a value that kube-apiserver still takes.
MOST_JUNK = 900_000
# A source with a refresh token may not have them.
_REFUSED = {annotations.GRANT_TYPE, annotations.LOGIN, annotations.SCOPE, annotations.AUDIENCE}
_REFUSED |= {annotations.RESOURCE, annotations.PARAMS}
_LONG_ANNOTATIONS = dict.fromkeys(set(annotations.LIMITS) - _REFUSED, EMOJI + "a" * 1000)
# The issuer answers clients with such ids with 429 and Retry-After.
THROTTLED = "throttled"
# Secrets with a login that works, whose annotations are removed whenever they appear.
UNDONE = 10
_UNDO = {
    "metadata": {
        "annotations": dict.fromkeys(
            (annotations.STATUS, annotations.MESSAGE, annotations.NEXT_REFRESH)
        )
    }
}


def largest_document(refresh_token: str) -> str:
    """Return the largest document that is allowed, with the most fields."""
    fields = {"refresh_token": refresh_token, "token_type": "A" * 64}
    fields |= {f"{EMOJI}-{number}": "" for number in range(MAX_FIELDS - 3)}
    room = annotations.MAX_DOCUMENT - len(json.dumps(fields, ensure_ascii=False).encode())
    return json.dumps(fields | {"x": "y" * (room - len(', "x": ""'))}, ensure_ascii=False)


def largest_credential(beginning: str) -> str:
    room = MAX_CREDENTIAL - len(f"{beginning}{EMOJI}".encode())
    return f"{beginning}{EMOJI}{'c' * room}"


def hostile_secret(
    name: str, document: str, client_id: str, client_secret: str, junk: int = 1000
) -> dict[str, Any]:
    """Return the manifest of an annotated Secret, with long annotations and a key of no use."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "annotations": _LONG_ANNOTATIONS
            | {annotations.IS_TOKEN: "true", annotations.ISSUER: "demo"},
        },
        "stringData": {
            annotations.KEY_OAUTH: document,
            annotations.KEY_CLIENT_ID: client_id,
            annotations.KEY_CLIENT_SECRET: client_secret,
            f"junk-of-{name}": EMOJI + "j" * junk,
        },
    }


class HostileNamespace:
    """`most` Secrets get tokens, `more` are above that cap; `unparsable` ones are larger still.

    `edits` counts what `edited` has done.
    """

    def __init__(
        self, plane: ControlPlane, name: str, most: int, more: int, unparsable: int
    ) -> None:
        self.name = name
        self.edits = 0
        self._plane = plane
        self._most, self._all, self._unparsable = most, most + more, unparsable
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca), maxsize=8)
        self._url = f"{plane.server}/api/v1/namespaces/{name}/secrets"
        self._made_up = itertools.count()

    def fill(self, issuer: ScriptedIssuer) -> None:
        first = [
            self._secret(
                f"undone-{number}", issuer.seed(DEMO_CLIENT.client_id), DEMO_CLIENT.client_id
            )
            for number in range(UNDONE)
        ]
        large = EMOJI + "x" * MOST_JUNK
        rest = itertools.chain(
            (self._reseeded(number) for number in range(UNDONE, self._all)),
            (hostile_secret(f"junk-{n}", large, "c", "s") for n in range(self._unparsable)),
        )
        for manifests in (first, rest):
            with ThreadPoolExecutor(4) as pool:
                assert set(pool.map(self._create, manifests)) <= {201}

    def edited(self, per_second: float) -> AbstractContextManager[None]:
        return meanwhile(partial(self._edit, per_second), "hostile")

    def _edit(self, per_second: float, stop: threading.Event) -> None:
        due = time.monotonic()
        many = itertools.cycle(range(UNDONE, self._most))
        undone = itertools.cycle(range(UNDONE))
        while not stop.wait(max(0.0, due - time.monotonic())):
            due += 1 / per_second
            match self.edits % 4:
                case 0:
                    self._patch(f"undone-{next(undone)}", _UNDO)
                case 1:
                    self._reseed(UNDONE)
                case _:
                    self._reseed(next(many))
            self.edits += 1

    def _reseed(self, number: int) -> None:
        document = largest_document(self._refresh_token())
        self._patch(f"worst-{number}", {"stringData": {annotations.KEY_OAUTH: document}})

    def _reseeded(self, number: int) -> dict[str, Any]:
        token = Sensitive(self._refresh_token())
        ids = (DEMO_CLIENT.client_id, f"unknown-{number}-", f"{THROTTLED}-{number}-")
        return self._secret(f"worst-{number}", token, ids[number % len(ids)])

    def _secret(self, name: str, token: Sensitive, client_id: str) -> dict[str, Any]:
        document, secret = largest_document(token.reveal()), DEMO_CLIENT.client_secret
        if client_id == DEMO_CLIENT.client_id and secret is not None:
            return hostile_secret(name, document, client_id, secret.reveal())
        credential = largest_credential(client_id)
        return hostile_secret(name, document, credential, credential)

    def _refresh_token(self) -> str:
        return f"made-up-{next(self._made_up)}-{EMOJI}"

    def _create(self, manifest: dict[str, Any]) -> int:
        return self._send("POST", self._url, manifest, "application/json")

    def _patch(self, name: str, change: dict[str, Any]) -> None:
        status = self._send("PATCH", f"{self._url}/{name}", change, "application/merge-patch+json")
        assert status == 200, status

    def _send(self, method: str, url: str, body: dict[str, Any], kind: str) -> int:
        headers = {"Authorization": self._plane.authorization, "Content-Type": kind}
        query = "?fieldManager=mallory"
        answer = self._pool.request(method, url + query, body=json.dumps(body), headers=headers)
        return answer.status
