from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant, adopt
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.refresher.resync import Snapshot, initial_states
from csidriver.refresher.state_cache import StateCache, compact

REF = SourceRef("ns", "hello")
TEXT = '{"access_token":"at","refresh_token":"rt"}'


def source(text: str = TEXT, **notes: str) -> Secret:
    own = {f"{annotations.PREFIX}{key}": value for key, value in notes.items()}
    return Secret(
        REF.namespace,
        REF.name,
        uid="uid",
        resource_version="s1",
        annotations={annotations.IS_TOKEN: "true", annotations.STATUS: "Pending", **own},
        data={"oauth": Sensitive(text), "clientID": Sensitive("app")},
    )


def grant() -> Grant:
    return adopt(Source.parse(source()), Issuer("demo", token_endpoint="https://x/t"), 1.0, None)


def known() -> TokenState:
    held = grant()
    companion = Companion(
        REF, "uid", 1, Status.READY, "", 0.0, replace(held, expires_at=9).access_token(1)
    )
    return TokenState(
        REF,
        source=source(),
        grant=held,
        grant_secret=replace(grant_secret.to_secret(held, "driver"), resource_version="g1"),
        companion=Secret(
            "tokens",
            REF.companion,
            type=annotations.COMPANION_TYPE,
            resource_version="c1",
            annotations=companion.annotations(),
            data=companion.data(),
        ),
        source_stale=False,
        grant_stale=False,
    )


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


class Lists:
    def __init__(self, *secrets: Secret) -> None:
        self.secrets = secrets

    def list_secrets(self, namespace: str, type: str) -> list[Secret]:  # noqa: A002 - its name
        return [s for s in self.secrets if (s.namespace, s.type) == (namespace, type)]

    def now(self) -> float:
        raise NotImplementedError

    def monotonic(self) -> float:
        return 7.0


def test_stock_is_taken_of_everything_that_was_found_anywhere() -> None:
    rules = RefreshContext(
        issuers=Issuers(), holder="me", driver_namespace="driver", tokens_namespace="tokens"
    )
    lone, orphan, stray = (
        SourceRef("ns", "lone"),
        SourceRef("ns", "orphan"),
        SourceRef("ns", "stray"),
    )
    kept = known()
    assert kept.grant_secret is not None
    assert kept.companion is not None
    listed = replace(kept.companion, annotations={**kept.companion.annotations})
    foreign = replace(kept.grant_secret, name="grant-of-nobody", annotations={})
    misnamed = replace(kept.grant_secret, name=stray.grant)
    lists = Lists(listed, kept.grant_secret, foreign, misnamed)
    changes = [
        SecretChange(REF, TokenObject.SOURCE, "s1", written_by_driver=True),
        SecretChange(lone, TokenObject.SOURCE, "s2"),
        SecretChange(orphan, TokenObject.COMPANION, "c2"),
        None,
        SecretChange(stray, TokenObject.SOURCE, "later"),
    ]
    rest = iter(changes)
    census = Snapshot.read(rest)
    assert census is not None
    assert next(rest) == changes[-1]
    found = {one.ref: one for one in initial_states(census, lists, rules, lists)}
    assert set(found) == {REF, lone, orphan}
    assert found[lone] == TokenState(lone)
    assert found[REF].grant == grant()
    assert found[REF].grant_secret == kept.grant_secret
    assert found[REF].companion == compact(kept).companion
    assert found[REF].read_at == 7.0
    assert Snapshot.read(iter(changes[:2])) is None, "a watch that ended early tells nothing"


def test_a_census_also_says_what_is_gone() -> None:
    census = Snapshot.read(iter([SecretChange(REF, TokenObject.SOURCE, "s1"), None]))
    assert census is not None
    assert set(census.diff([REF, SourceRef("ns", "gone")])) == {
        SecretChange(REF, TokenObject.SOURCE, "s1"),
        SecretChange(REF, TokenObject.GRANT, ""),
        SecretChange(REF, TokenObject.COMPANION, ""),
        *(SecretChange(SourceRef("ns", "gone"), what, "") for what in TokenObject),
    }


def test_a_document_with_a_space_more_is_not_the_live_one() -> None:
    text, _ = TokenDocument.parse(Sensitive(TEXT))
    assert text.to_json().reveal() == TEXT
    assert not compact(replace(known(), source=source(TEXT + " "))).source_data_omitted
