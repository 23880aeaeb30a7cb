"""A grant as a Secret, and back."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.token_response import Failure
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.outcomes import after_failure
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret
from tests.core.refresh.grants import ADOPTED, AFTER, INTENT
from tests.core.refresh.virtual_cluster import ISSUER, REF
from tests.core.refresh.virtual_server import START


class TestGrantSecret:
    @pytest.mark.parametrize(
        "grant",
        [
            *(ADOPTED, INTENT, AFTER),
            after_failure(INTENT, Failure(FailureReason.NO_ANSWER), START, ISSUER),
            replace(AFTER, next_refresh=None, warning="W", message="é"),
            replace(ADOPTED, client=Client("public", Sensitive("")), source_version="7"),
            replace(ADOPTED, client=Client("signs", Sensitive(""), Sensitive("key"))),
        ],
        ids=["new", "intent", "refreshed", "uncertain", "stopped", "public client", "key"],
    )
    def test_round_trip_through_a_manifest(self, grant: Grant) -> None:
        manifest = grant_secret.to_secret(grant, "oauth2-csi").to_manifest()
        assert grant_secret.from_secret(Secret.from_manifest(manifest)) == grant

    @pytest.mark.parametrize(
        "change",
        [
            *({key: None} for key in ("document", "state", "clientID", "clientSecret")),
            *({"state": text} for text in ("rt-secret", '{"version": 2}', '{"version": []}')),
        ],
        ids=str,
    )
    def test_a_damaged_one_is_refused_without_quoting(self, change: dict[str, str | None]) -> None:
        stored = grant_secret.to_secret(ADOPTED, "oauth2-csi")
        texts = {key: value.reveal() for key, value in stored.data.items()} | change
        data = {key: Sensitive(text) for key, text in texts.items() if text is not None}
        self.refused(replace(stored, data=data))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *[(key, None) for key in ("source", "issuer", "generation", "seeds", "status")],
            *[(key, "rt-secret") for key in ("source", "generation", "issuedAt", "status")],
            *[(key, 5) for key in ("source", "issuer", "seeds", "spent", "intent", "status")],
            *[(key, math.inf) for key in ("generation", "failures", "issuedAt", "nextRefresh")],
            *[(key, math.nan) for key in ("inherited", "expiresAt", "refreshExpiresAt")],
            *[(key, 1e17) for key in ("expiryStep", "adoptedAt", "failingSince")],
            *[(key, -1) for key in ("generation", "expiresAt")],
            *[(key, [[]]) for key in ("seeds", "spent")],
            ("source", {"namespace": [], "name": "n", "uid": "u", "resourceVersion": "1"}),
            # A later release may mean by an unknown key that the token was sent.
            ("intent", grant_secret._intent_json(INTENT.intent) | {"later": True}),  # type: ignore[arg-type]
        ],
    )
    def test_damaged_state(self, key: str, value: Any) -> None:
        stored = grant_secret.to_secret(ADOPTED, "oauth2-csi")
        state = json.loads(stored.data["state"].reveal()) | {key: value}
        self.refused(replace(stored, data={**stored.data, "state": Sensitive(json.dumps(state))}))

    @pytest.mark.parametrize("end", [2**63 + 1_700_000_000.25, 10**400])
    def test_a_login_without_end_of_an_earlier_release_can_be_read(self, end: float) -> None:
        stored = grant_secret.to_secret(ADOPTED, "oauth2-csi")
        state = json.loads(stored.data["state"].reveal()) | {"refreshExpiresAt": end}
        text = Sensitive(json.dumps(state))
        assert grant_secret.from_secret(replace(stored, data={**stored.data, "state": text})) == (
            ADOPTED
        )

    def refused(self, secret: Secret) -> None:
        with pytest.raises(InvalidSecret) as caught:
            grant_secret.from_secret(secret)
        assert "rt-secret" not in str(caught.value)
        assert REF.grant in str(caught.value)
