from dataclasses import replace

import pytest

from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.refresh.state import TokenState
from csidriver.core.status import Status
from csidriver.refresher.state_cache import StateCache, compact
from tests.refresher.token_states import REF, grant, known, source


def version(token_object: TokenObject) -> str:
    return {TokenObject.SOURCE: "s1", TokenObject.GRANT: "g1", TokenObject.COMPANION: "c1"}[
        token_object
    ]


@pytest.mark.parametrize("token_object", TokenObject)
def test_a_known_version_changes_nothing(token_object: TokenObject) -> None:
    cache = StateCache()
    cache.checkout(REF)
    assert not cache.store(known())
    assert not cache.apply_change(SecretChange(REF, token_object, version(token_object)))
    for other in ("new", ""):
        cache.checkout(REF)
        cache.store(known())
        assert cache.apply_change(SecretChange(REF, token_object, other))


@pytest.mark.parametrize("token_object", TokenObject)
def test_a_change_during_a_reconciliation_counts_after_it(token_object: TokenObject) -> None:
    cache = StateCache()
    cache.checkout(REF)
    assert not cache.apply_change(SecretChange(REF, token_object, "new"))
    assert cache.store(known())
    stale = cache.peek(REF)
    assert (stale.source_stale, stale.grant_stale) == (
        token_object is TokenObject.SOURCE,
        token_object is not TokenObject.SOURCE,
    )
    cache.checkout(REF)
    assert not cache.apply_change(SecretChange(REF, token_object, version(token_object)))
    assert not cache.store(known()), "it was read meanwhile"


def test_an_unknown_token_is_reconciled_and_a_deleted_one_forgotten() -> None:
    cache = StateCache()
    assert not cache.apply_change(SecretChange(REF, TokenObject.SOURCE, ""))
    assert len(cache) == 0
    assert cache.apply_change(SecretChange(REF, TokenObject.COMPANION, "c1"))
    for state, refs in (
        (known(), [REF]),
        (TokenState(REF, source_stale=False, grant_stale=False), []),
        (TokenState(REF, source_stale=True), [REF]),  # this one could not be read
    ):
        cache.checkout(REF)
        cache.store(state)
        assert cache.refs() == refs


def test_no_document_is_in_memory_twice() -> None:
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
    lying = compact(replace(known(), grant=None))
    assert lying.source_data_dropped
    for secret in (lying.source, lying.grant_secret):
        assert secret is not None
        assert not secret.data


@pytest.mark.parametrize("token_source", [source('{"refresh_token":"x"}'), source(issuer="x")])
def test_a_source_that_says_something_else_is_read_again(token_source: Secret) -> None:
    lying = compact(replace(known(), source=token_source))
    assert lying.source_data_dropped
    assert not lying.source_data_omitted
    assert lying.source is not None
    assert not lying.source.data
    assert not lying.source.annotations
    assert lying.versions == known().versions
    assert compact(lying) == lying


def test_the_echo_of_an_own_write_reconciles_no_source_again_that_is_not_in_memory() -> None:
    cache = StateCache()
    cache.checkout(REF)
    written = replace(known(), grant=None, own_versions=((TokenObject.SOURCE, "s1"),))
    cache.apply_change(SecretChange(REF, TokenObject.SOURCE, "s1"))
    assert not cache.store(written)
    assert cache.peek(REF).source_data_dropped
    assert not cache.apply_change(SecretChange(REF, TokenObject.SOURCE, "s1"))
    assert REF in cache.versions()


def test_the_summary_counts_and_finds_the_first_to_expire_and_the_first_login_to_end() -> None:
    cache = StateCache()
    for number, (status, expires_at, ends, renewed) in enumerate(
        [
            (Status.READY, 50.0, 60.0, True),
            (Status.READY, 200.0, 80.0, False),
            (Status.UNCERTAIN, 99.0, 70.0, False),
            (Status.NEEDS_REAUTH, 1.0, 50.0, False),
            (Status.PENDING, 0.0, 0.0, True),
        ]
    ):
        ref = SourceRef("ns", str(number))
        held = replace(grant(), ref=ref, status=status, expires_at=expires_at)
        held = replace(held, refresh_expires_at=ends, refresh_renewed=renewed)
        cache.restore(replace(known(), ref=ref, grant=held))
    summary = cache.summary(100.0)
    assert summary.statuses[Status.READY] == 1  # the other one has expired
    assert summary.statuses[Status.ISSUER_UNAVAILABLE] == 1
    assert summary.statuses[Status.NEEDS_REAUTH] == 1
    assert (summary.earliest, summary.expired) == ({"demo": 50.0}, {"demo": 2})
    assert summary.login_ends == {"demo": 70.0}


LOGIN = SourceRef("ns", "login")


def login(status: Status = Status.READY, generation: int = 1) -> TokenState:
    found = replace(grant(), ref=LOGIN, status=status, generation=generation)
    return replace(known(), ref=LOGIN, grant=found)


class Woken:
    """A cache, and the tokens that it has had reconciled since the last question."""

    def __init__(self) -> None:
        self._woken: list[SourceRef] = []
        self.cache = StateCache(self._woken.append)

    def store(self, state: TokenState) -> list[SourceRef]:
        self.cache.checkout(state.ref)
        self.cache.store(state)
        woken, self._woken[:] = list(self._woken), []
        return woken


def test_a_token_is_woken_by_each_change_of_its_login() -> None:
    bench = Woken()
    assert bench.cache.find_login(REF, LOGIN) is None
    assert bench.store(login()) == [REF]
    found = bench.cache.find_login(REF, LOGIN)
    assert found == login().grant
    assert bench.store(login()) == []
    assert bench.store(login(Status.NEEDS_REAUTH)) == [REF]
    assert bench.store(login(generation=2)) == [REF]
    assert bench.store(replace(login(generation=2), source_deleted_at=1.0)) == [REF]
    assert bench.cache.find_login(REF, LOGIN) is None
    assert bench.store(TokenState(LOGIN, source_stale=False, grant_stale=False)) == []
    bench.store(replace(login(), grant_withheld=True))
    assert bench.cache.find_login(REF, LOGIN) is None


def test_a_token_that_is_derived_no_more_is_not_woken() -> None:
    bench = Woken()
    bench.cache.find_login(REF, LOGIN)
    bench.store(known())
    assert bench.store(login()) == []
    bench.cache.find_login(REF, LOGIN)
    bench.store(TokenState(REF, source_stale=False, grant_stale=False))
    assert bench.store(login(generation=2)) == []
    bench.cache.find_login(REF, LOGIN)
    bench.cache.find_login(REF, SourceRef("ns", "another"))
    assert bench.store(login(generation=3)) == []
    assert bench.cache._derived == {SourceRef("ns", "another"): {REF}}
