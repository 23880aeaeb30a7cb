from dataclasses import replace

import pytest

from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.state import TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.refresher.state_cache import StateCache, compact
from tests.refresher.token_states import REF, TEXT, grant, known, source


def version(what: TokenObject) -> str:
    return {TokenObject.SOURCE: "s1", TokenObject.GRANT: "g1", TokenObject.COMPANION: "c1"}[what]


@pytest.mark.parametrize("what", TokenObject)
def test_a_version_that_was_seen_is_no_news(what: TokenObject) -> None:
    register = StateCache()
    register.checkout(REF)
    assert not register.store(known())
    assert not register.apply_change(SecretChange(REF, what, version(what)))
    for other in ("new", ""):
        register.checkout(REF)
        register.store(known())
        assert register.apply_change(SecretChange(REF, what, other))


@pytest.mark.parametrize("what", TokenObject)
def test_what_is_told_during_a_visit_counts_after_it(what: TokenObject) -> None:
    register = StateCache()
    register.checkout(REF)
    assert not register.apply_change(SecretChange(REF, what, "new"))
    assert register.store(known())
    stale = register.peek(REF)
    assert (stale.source_stale, stale.grant_stale) == (
        what is TokenObject.SOURCE,
        what is not TokenObject.SOURCE,
    )
    register.checkout(REF)
    assert not register.apply_change(SecretChange(REF, what, version(what)))
    assert not register.store(known()), "it was read meanwhile"


def test_a_storm_of_changes_is_not_kept() -> None:
    register = StateCache()
    register.checkout(REF)
    for number in range(1000):
        register.apply_change(SecretChange(REF, TokenObject.SOURCE, str(number)))
    register.apply_change(SecretChange(REF, TokenObject.SOURCE, "s1"))
    assert register.store(known())
    assert register.peek(REF).grant_stale


def test_a_token_nobody_has_heard_of_is_visited_unless_it_is_gone() -> None:
    register = StateCache()
    assert not register.apply_change(SecretChange(REF, TokenObject.SOURCE, ""))
    assert len(register) == 0
    assert register.apply_change(SecretChange(REF, TokenObject.COMPANION, "c1"))


def test_a_token_that_is_gone_is_forgotten() -> None:
    register = StateCache()
    register.checkout(REF)
    register.store(known())
    assert register.refs() == [REF]
    register.checkout(REF)
    register.store(TokenState(REF, source_stale=False, grant_stale=False))
    assert register.refs() == []
    register.checkout(REF)
    register.store(TokenState(REF, source_stale=True))
    assert register.refs() == [REF], "this one could not be read"


def test_what_lies_in_memory_holds_no_document_twice() -> None:
    lying = compact(known())
    assert lying.grant is not None
    assert lying.grant.document == grant().document
    for secret in (lying.source, lying.grant_secret, lying.companion):
        assert secret is not None
        assert not any(value for value in secret.data.values())
    assert lying.companion is not None
    assert "access_token" in lying.companion.data, "a patch must be able to remove it"
    assert lying.source_data_omitted
    assert compact(lying) == lying


@pytest.mark.parametrize(
    "secret",
    [
        source('{"refresh_token":"other"}'),
        source("{no json"),
        source(status="Invalid"),
        source(issuer="another"),
        replace(source(), data={"oauth2": Sensitive(TEXT)}),
        replace(source(), data={"oauth2": Sensitive(TEXT), "oauth": Sensitive("{}")}),
    ],
    ids=["another document", "broken", "another status", "another issuer", "moved", "overridden"],
)
def test_a_source_that_says_something_else_is_kept_whole(secret: Secret) -> None:
    key = "oauth2" if "oauth" in secret.data and "oauth2" in secret.data else "oauth"
    lying = compact(replace(known(), source=secret, grant=replace(grant(), key=key)))
    assert lying.source == secret
    assert not lying.source_data_omitted


def test_a_damaged_grant_is_kept_whole() -> None:
    damaged = replace(known(), grant=None)
    assert compact(damaged).grant_secret == damaged.grant_secret


def test_the_summary_counts_and_finds_the_first_to_expire() -> None:
    register = StateCache()
    for number, (status, expires_at) in enumerate(
        [
            (Status.READY, 50.0),
            (Status.READY, 200.0),
            (Status.UNCERTAIN, 99.0),
            (Status.NEEDS_REAUTH, 1.0),
            (Status.PENDING, 0.0),
        ]
    ):
        ref = SourceRef("ns", str(number))
        held = replace(grant(), ref=ref, status=status, expires_at=expires_at)
        register.restore(replace(known(), ref=ref, grant=held))
    summary = register.summary(100.0)
    assert summary.statuses[Status.READY] == 2
    assert summary.statuses[Status.NEEDS_REAUTH] == 1
    assert (summary.earliest, summary.expired) == ({"demo": 50.0}, {"demo": 2})


def test_the_summary_finds_the_first_login_that_ends_for_good() -> None:
    register = StateCache()
    for number, (ends, renewed, status) in enumerate(
        [
            (0.0, True, Status.READY),
            (60.0, True, Status.READY),
            (50.0, False, Status.NEEDS_REAUTH),
            (80.0, False, Status.READY),
            (70.0, False, Status.ISSUER_UNAVAILABLE),
        ]
    ):
        ref = SourceRef("ns", str(number))
        held = replace(grant(), ref=ref, status=status, refresh_expires_at=ends)
        held = replace(held, refresh_renewed=renewed)
        register.restore(replace(known(), ref=ref, grant=held))
    assert register.summary(100.0).login_ends == {"demo": 70.0}


def test_a_document_with_a_space_more_is_not_the_live_one() -> None:
    text, _ = TokenDocument.parse(Sensitive(TEXT))
    assert text.to_json().reveal() == TEXT
    assert not compact(replace(known(), source=source(TEXT + " "))).source_data_omitted
