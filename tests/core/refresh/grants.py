"""Grants, sources and documents for tests of pure functions."""

import base64
import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.grant import Grant, adopt, with_intent
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.virtual_cluster import ISSUER, REF
from tests.core.refresh.virtual_server import START


def token_document(**fields: Any) -> TokenDocument:
    return TokenDocument.parse(Sensitive(json.dumps(fields)))[0]


def parsed_source(token: str = "seed", **fields: Any) -> Source:  # noqa: S107 - planted
    return Source(
        ref=REF,
        uid="u1",
        document=token_document(refresh_token=token, **fields),
        key="oauth",
        client=Client("my-app", Sensitive("cs-secret")),
        issuer="",
        trailing=False,
    )


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


ADOPTED = adopt(parsed_source(), ISSUER, START, None)
LIVE = ADOPTED.live_hash
INTENT = with_intent(ADOPTED, "n1", "pod-1", START, 60.0)
AFTER = after_success(INTENT, token_document(refresh_token="mine", access_token="a"), START, ISSUER)

ISSUERS = st.sampled_from(
    [
        Issuer("cern", "https://auth.example"),
        Issuer("cern", "https://auth.example", scope="read"),
        Issuer("cern", token_endpoint="https://auth.example/token"),
        Issuer("cern", "https://auth.example", reuse=30.0),
        Issuer("cern", "https://auth.example", reuse=UNLIMITED),
        Issuer("cern", "https://auth.example", min_lead=1e6),
    ]
)


def grants() -> st.SearchStrategy[Grant]:
    """Grants in the middle of something."""
    return st.builds(
        lambda base, status, failures, reason, issued, life: replace(
            base,
            status=status,
            failures=failures,
            failure_reason=reason,
            issued_at=issued,
            expires_at=issued + life,
        ),
        st.sampled_from([ADOPTED, INTENT, with_intent(INTENT, "n2", "pod-1", START - 100, 60.0)]),
        st.sampled_from([Status.READY, Status.UNCERTAIN, Status.NEEDS_REAUTH, Status.PENDING]),
        st.integers(0, 10),
        st.none() | st.sampled_from(FailureReason),
        st.floats(START - 86400, START),
        st.sampled_from([0.0, 1.0, 20.0, 300.0, 3600.0, 86400.0]),
    )
