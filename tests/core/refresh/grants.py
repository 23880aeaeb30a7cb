"""Grants, sources and documents for tests of pure functions."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

from csidriver.core.oauth.issuers import UNLIMITED, Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.grant import adopt, with_intent
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from tests.core.refresh.virtual_cluster import ISSUER, REF
from tests.core.refresh.virtual_cluster import START as NOW


def token_document(**fields: Any) -> TokenDocument:
    return TokenDocument.parse(Sensitive(json.dumps(fields)))[0]


def parsed_source(
    token: str = "seed",  # noqa: S107 - planted
    *,
    trailing: bool = False,
    **fields: Any,
) -> Source:
    return Source(
        ref=REF,
        uid="u1",
        refresh_token=Sensitive(token),
        document=token_document(refresh_token=token, **fields),
        key="oauth",
        client=Client("my-app", Sensitive("cs-secret")),
        issuer="",
        trailing=trailing,
    )


def jwt(issued: float, expiry: float, issuer: str = "") -> str:
    claims = json.dumps({"iat": issued, "exp": expiry, "iss": issuer}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


ADOPTED = adopt(parsed_source(), ISSUER, NOW, None)


LIVE = ADOPTED.live_hash


INTENT = with_intent(ADOPTED, "n1", "pod-1", NOW, 60.0)


AFTER = after_success(INTENT, token_document(refresh_token="mine", access_token="a"), NOW, ISSUER)


UNIT = st.floats(0.0, 1.0, exclude_max=True)


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
