"""The grant after a token request that brought tokens (docs/protocol.md 4.5)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.oauth.issuers import MAX_LIFETIME, Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.new_tokens import after_success
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from tests.core.refresh.grants import INTENT, ISSUERS, LIVE, jwt, token_document
from tests.core.refresh.virtual_cluster import ISSUER
from tests.core.refresh.virtual_server import START

HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, -1, 1, None, "300", "soon", 1e12, True, [], 1e308, -0.0, 0.5]),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(HOSTILE, HOSTILE, st.text(max_size=3), ISSUERS)
def test_no_lifetime_makes_a_hot_loop_or_no_refresh(
    expires_in: Any, refresh_expires_in: Any, uid: str, issuer: Issuer
) -> None:
    """F17."""
    reply = token_document(
        access_token="a", expires_in=expires_in, refresh_expires_in=refresh_expires_in
    )
    after = after_success(replace(INTENT, source_uid=uid), reply, START, issuer)
    assert after.status is Status.READY
    assert 1 <= after.lifetime <= MAX_LIFETIME + 1e-3
    assert after.next_refresh is not None
    wait = after.next_refresh - START
    assert max(1.0, min(10.0, after.lifetime / 4)) - 1e-5 <= wait
    assert wait <= max(1.0, after.lifetime) + 1e-5


@pytest.mark.parametrize("life", [30.0, 300.0, 6000.0])
def test_tokens_of_one_second_are_spread(life: float) -> None:
    """Invariant 12: by the uid of their source, so that a restart draws the same instants."""
    reply = token_document(access_token="a", expires_in=life)
    grants = [replace(INTENT, source_uid=f"uid-{number}") for number in range(2000)]
    times = [after_success(each, reply, START, ISSUER).next_refresh or 0.0 for each in grants]
    width, start = 0.01 * life, min(times)
    assert max(times) - start >= 9 * width
    for tenth in range(9):
        begin = start + tenth * width
        assert 130 <= sum(begin <= at < begin + width for at in times) <= 270


class TestSucceed:
    def test_expiry_counts_from_before_sending(self) -> None:
        reply = token_document(access_token="a", refresh_token="r", expires_in=600)
        after = after_success(replace(INTENT, failures=5), reply, START, ISSUER)
        assert (after.issued_at, after.expires_at) == (START, START + 600)
        assert after.document.value("expires_at") == START + 600
        assert after.intent is None
        assert (after.status, after.warning, after.failures) == (Status.READY, "", 0)
        assert after.spent == (LIVE,)

    @pytest.mark.parametrize("expires_in", [-1, "soon", 1e12])
    def test_a_hostile_lifetime_is_replaced_with_a_warning(self, expires_in: Any) -> None:
        reply = token_document(access_token="a", expires_in=expires_in)
        after = after_success(INTENT, reply, START, ISSUER)
        assert after.lifetime == ISSUER.default_lifetime
        assert after.warning == TokenWarning.DEFAULT_LIFETIME.value

    @pytest.mark.parametrize(
        ("token", "says"),
        [("a b", "more than 32 KiB"), (jwt(cnf={"jkt": "x"}), "a file cannot carry")],
        ids=["no token", "bound"],
    )
    def test_without_a_usable_access_token_the_refresh_token_is_kept(
        self, token: str, says: str
    ) -> None:
        reply = TokenDocument.parse_reply(
            Sensitive(json.dumps({"access_token": token, "refresh_token": "r"}))
        )
        after = after_success(INTENT, reply, START, ISSUER)
        assert says in after.message
        assert after.document.access_token == INTENT.document.access_token
        assert after.document.refresh_token == Sensitive("r")
        assert after.status is Status.MISCONFIGURED
        assert after.next_refresh is not None
        assert after.next_refresh > START
