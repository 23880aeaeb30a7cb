"""Fills an API server: annotated Secrets that were adopted long ago, and as many others.

Every object is built by the functions the refresher builds its own with, and written as it and
kubectl write theirs; what stands there is what a refresher leaves behind that was just ended.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import urllib3

from bench.scale_issuer import ID_TOKEN, LIFETIME
from csidriver.core import annotations as core_annotations
from csidriver.core import names
from csidriver.core.backoff import stable_jitter
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import MAX_SPENT, Grant, adopt
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.schedule import next_refresh_at
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.source_annotations import status_annotations
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from csidriver.demo.jwt import sign_jwt
from csidriver.errors import DriverError
from tests.cluster.controlplane import ControlPlane

NAMESPACES = tuple(f"team-{number}" for number in range(20))
THREADS = 16
# How often each token was refreshed before: its grant has as many spent hashes as it ever will.
GENERATION = 100
OTHER = "s" * 2000
_KEY = b"k" * 32
# Those due in the last part of the time between two refreshes are made last. Seconds it may take
# to make one; if it is wrong, the others are due some time earlier or later.
_LATE, _GUESS = 0.2, 0.006
_JSON, _MERGE = "application/json", "application/merge-patch+json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Aged:
    """An adopted token: the hash of its live refresh token, and when it is due."""

    ref: SourceRef
    live: str
    due: float


class Filler:
    """Writes as administrator, over many connections."""

    def __init__(self, plane: ControlPlane) -> None:
        self._server = plane.server
        (user,) = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))["users"]
        self._authorization = f"Bearer {user['user']['token']}"
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca), maxsize=THREADS)
        for name in NAMESPACES:
            plane.kubectl("create", "namespace", name)

    def others(self, count: int) -> None:
        """Secrets that are none of ours."""

        def create(number: int) -> None:
            namespace = NAMESPACES[number % len(NAMESPACES)]
            data = {"password": Sensitive(OTHER)}
            self._create(Secret(namespace, f"other-{number}", data=data), "kubectl-create")

        _all(create, range(count))

    def sources(self, count: int, prefix: str = "token") -> list[Secret]:
        """Annotated Secrets, as users create them."""

        def create(number: int) -> Secret:
            seed = json.dumps({"refresh_token": secrets.token_urlsafe(32)})
            data = {
                core_annotations.KEY_OAUTH: Sensitive(seed),
                core_annotations.KEY_CLIENT_ID: Sensitive(DEMO_CLIENT.client_id),
                core_annotations.KEY_CLIENT_SECRET: DEMO_CLIENT.client_secret or Sensitive(""),
            }
            return self._create(
                Secret(
                    NAMESPACES[number % len(NAMESPACES)],
                    f"{prefix}-{number}",
                    annotations={core_annotations.IS_TOKEN: "true"},
                    data=data,
                ),
                "kubectl-create",
            )

        return _all(create, range(count))

    def adopt(
        self, sources: Sequence[Secret], lives: Sequence[Sensitive], issuer: Issuer
    ) -> tuple[list[Aged], float]:
        """Mirrors, grants and companions, as old as a steady refresher has them at an instant.

        Returns that instant too, which comes a little after they are made. How long that takes is
        only known on the way: what is due first is made last.
        """
        count = len(sources)
        # How long ago each was sent, as a part of the time from one refresh to the next.
        ages = [(number + 0.5) / count * _between(sources[number]) for number in range(count)]
        late = int(count * _LATE)
        began = time.time()
        at = began + _GUESS * count
        aged = self.sent(sources[:-late], lives[:-late], issuer, [at - age for age in ages[:-late]])
        each = (time.time() - began) / (count - late)
        at = time.time() + 1.1 * late * each + 1.0
        aged += self.sent(
            sources[-late:], lives[-late:], issuer, [at - age for age in ages[-late:]]
        )
        return aged, at

    def due_at(
        self, sources: Sequence[Secret], lives: Sequence[Sensitive], issuer: Issuer, at: float
    ) -> list[Aged]:
        """Return the tokens, all of them due at this instant."""
        return self.sent(sources, lives, issuer, [at - _between(source) for source in sources])

    def sent(
        self,
        sources: Sequence[Secret],
        lives: Sequence[Sensitive],
        issuer: Issuer,
        sent_at: Sequence[float],
    ) -> list[Aged]:
        """Mirrors, grants and companions, each as of the instant at which it was asked for."""

        def take(number: int) -> Aged:
            source = sources[number]
            grant = _grant(source, lives[number], issuer, sent_at[number])
            self._mirror(source, grant)
            self._create(grant_secret.to_secret(grant, names.DRIVER_NAMESPACE))
            self._create(_companion(source, grant))
            return Aged(grant.ref, grant.live_hash, grant.next_refresh or 0.0)

        return _all(take, range(len(sources)))

    def _create(self, secret: Secret, manager: str = names.FIELD_MANAGER) -> Secret:
        path = f"/api/v1/namespaces/{secret.namespace}/secrets"
        return Secret.from_manifest(
            self._request("POST", path, secret.to_manifest(), _JSON, manager)
        )

    def _mirror(self, source: Secret, grant: Grant) -> None:
        told = status_annotations(grant, None, mirror_refused=False)
        patch = SecretPatch(
            annotations=told, data={core_annotations.KEY_OAUTH: grant.document.to_json()}
        )
        path = f"/api/v1/namespaces/{source.namespace}/secrets/{source.name}"
        body = patch.to_merge_patch(source.resource_version)
        self._request("PATCH", path, body, _MERGE, names.FIELD_MANAGER)

    def _request(self, method: str, path: str, body: Any, kind: str, manager: str) -> Any:
        answer = self._pool.request(
            method,
            f"{self._server}{path}?fieldManager={manager}",
            body=json.dumps(body),
            headers={"Authorization": self._authorization, "Content-Type": kind},
        )
        if answer.status not in {200, 201}:
            raise DriverError(f"{method} {path}: the API server answered {answer.status}")
        return answer.json()


def _between(source: Secret) -> float:
    """Seconds from one refresh of a token to the next."""
    return next_refresh_at(0.0, LIFETIME, u=stable_jitter(source.uid, GENERATION))


def _grant(source: Secret, live: Sensitive, issuer: Issuer, sent_at: float) -> Grant:
    """Return a grant after many refreshes, the last of them sent at `sent_at`."""
    adopted = adopt(Source.parse(source), issuer, sent_at - GENERATION * LIFETIME, None)
    spent = tuple(Sensitive(secrets.token_hex(16)).hash() for _ in range(MAX_SPENT - 1))
    before = replace(
        adopted,
        generation=GENERATION - 1,
        spent=spent,
        source_version=source.resource_version,
    )
    return after_success(before, _reply(live, issuer, sent_at), sent_at, issuer)


def _reply(live: Sensitive, issuer: Issuer, sent_at: float) -> TokenDocument:
    """Return a token document like those of the demo's server."""
    claims = {
        "iss": issuer.issuer,
        "sub": "demo-user",
        "aud": DEMO_CLIENT.client_id,
        "azp": DEMO_CLIENT.client_id,
        "iat": int(sent_at),
        "exp": int(sent_at + LIFETIME),
        "jti": secrets.token_hex(16),
        "sid": secrets.token_hex(16),
        "scope": "offline_access profile email",
    }
    fields = {
        "access_token": sign_jwt(claims, _KEY),
        "token_type": "Bearer",
        "expires_in": int(LIFETIME),
        "refresh_token": live.reveal(),
        "refresh_expires_in": 0,
        "scope": claims["scope"],
        "session_state": claims["sid"],
        "not-before-policy": 0,
        "id_token": ID_TOKEN,
    }
    return TokenDocument.parse(Sensitive(json.dumps(fields)))[0]


def _companion(source: Secret, grant: Grant) -> Secret:
    told = Companion(
        source=grant.ref,
        source_uid=source.uid,
        generation=grant.generation,
        status=grant.status,
        message=grant.message,
        next_refresh=grant.next_refresh or 0.0,
        token=grant.access_token(grant.issued_at),
    )
    return Secret(
        names.TOKENS_NAMESPACE,
        grant.ref.companion,
        type=core_annotations.COMPANION_SECRET_TYPE,
        annotations=told.annotations(),
        data=told.data(),
    )


def _all(work: Callable[[int], T], numbers: Iterable[int]) -> list[T]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, numbers))


def after_this_second() -> None:
    """Of two writes in one second nobody can tell which came last."""
    time.sleep(1.1)
