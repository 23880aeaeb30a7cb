"""Tokens that are made from a login's access token (docs/protocol.md 10)."""

from dataclasses import replace
from typing import Any

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import TokenExchangeSettings
from csidriver.core.oauth.token_response import TokenResponse
from csidriver.core.refresh.adopt import RESEED_INTERVAL
from csidriver.core.refresh.effects import AcquireSendSlot
from csidriver.core.refresh.ownership import RECHECK_SECONDS
from csidriver.core.status import Status
from tests.core.refresh.grants import jwt
from tests.core.refresh.sending.sources import (
    CLIENT,
    LOGIN,
    OPEN,
    forms,
    process,
    put,
    put_client,
    put_derived,
    served,
)
from tests.core.refresh.virtual_cluster import (
    LIFE,
    LOST_BEFORE,
    REF,
    Process,
    VirtualCluster,
    answer,
    document,
)

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Pair:
    """A login and a token that is made from it, in one process, woken as the controller does."""

    def __init__(self, cluster: VirtualCluster, issuer: Issuer = OPEN) -> None:
        self.cluster = cluster
        self.login = process(cluster, issuer, LOGIN)
        self.derived = process(cluster, issuer, REF)

    def begin(self) -> "Pair":
        put(self.cluster, CLIENT | {"oauth": document(self.cluster.server.login("alice"))}, LOGIN)
        put_derived(self.cluster)
        self.login.reconcile()
        self.derived.reconcile()
        return self

    def event(self, running: Process) -> None:
        """Reconcile after an edit, and whoever depends on the result."""
        running.reconcile(event=True)
        if running is self.login and REF in self.cluster.derived.get(LOGIN, ()):
            self.derived.reconcile()

    def run_for(self, seconds: float) -> None:
        until = self.cluster.now + seconds
        for _ in range(2000):
            times = [(p.state.next_reconcile or until + 1, p is self.derived, p) for p in self.both]
            at, _, running = min(times)
            if at > until:
                self.cluster.now = until
                return
            self.cluster.now = max(self.cluster.now, at)
            before = self.cluster.logins.get(LOGIN)
            running.reconcile()
            after = self.cluster.logins.get(LOGIN)
            if version(before) != version(after):
                self.derived.reconcile()
        raise AssertionError("hot loop")

    @property
    def both(self) -> tuple[Process, Process]:
        return self.login, self.derived


def version(login: Any) -> object:
    return login and (login.generation, login.status)


@pytest.fixture
def cluster() -> VirtualCluster:
    return VirtualCluster()


@pytest.fixture
def pair(cluster: VirtualCluster) -> Pair:
    return Pair(cluster).begin()


class TestTheQuietLife:
    def test_it_is_made_from_the_access_token_of_the_login(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        assert served(cluster) == "issued-1"
        [(_, client, form)] = cluster.server.forms
        assert client == "robot", "the login's client asks, as the Secret names none"
        assert dict(form)["grant_type"] == EXCHANGE
        assert dict(form)["subject_token"] == "at-alice-1"
        assert dict(form)["subject_token_type"].endswith(":access_token")
        assert pair.derived.state.next_reconcile is not None

    def test_the_refresh_token_of_the_login_is_never_presented_for_it(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        pair.run_for(3 * LIFE)
        sent = {value for form in forms(cluster) for _, value in form}
        assert not sent & set(cluster.server.families["alice"])

    def test_it_follows_each_renewal_of_the_login(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        pair.run_for(4 * LIFE)
        subjects = [dict(form)["subject_token"] for form in forms(cluster)]
        renewals = [f"at-alice-{number}" for number in range(1, len(cluster.server.presented) + 1)]
        assert list(dict.fromkeys(subjects)) == renewals
        assert cluster.status() == "Ready"

    def test_its_own_time_comes_too(self, cluster: VirtualCluster, pair: Pair) -> None:
        cluster.server.script.append(
            answer(200, {"access_token": "short", "token_type": "Bearer", "expires_in": 60})
        )
        cluster.now += RESEED_INTERVAL
        put_derived(cluster, audience="short")
        pair.event(pair.derived)
        pair.run_for(100)
        assert {dict(form)["subject_token"] for form in forms(cluster)} == {"at-alice-1"}
        assert len(forms(cluster)) == 3

    def test_a_restart_sends_nothing(self, cluster: VirtualCluster, pair: Pair) -> None:
        fresh = pair.derived.restarted()
        assert cluster.cost(fresh.reconcile) == (0, 0)
        assert len(forms(cluster)) == 1

    def test_a_client_of_its_own_asks(self, cluster: VirtualCluster) -> None:
        pair = Pair(cluster)
        put(cluster, CLIENT | {"oauth": document(cluster.server.login("alice"))}, LOGIN)
        own = {"clientID": "second", "clientSecret": "x"}
        put(cluster, own, grant_type="token-exchange", login=LOGIN.name)
        pair.login.reconcile()
        pair.derived.reconcile()
        assert [client for _, client, _ in cluster.server.forms] == ["second"]

    def test_a_secret_of_no_client_is_not_ignored(self, cluster: VirtualCluster) -> None:
        put(cluster, {"clientId": "x", "clientSecret": "x"}, grant_type="token-exchange", login="l")
        process(cluster).reconcile()
        assert cluster.status() == "Invalid"
        assert "key clientID is missing or empty; is it what 'clientId' means?" in cluster.message()

    def test_a_robots_token_may_be_the_login(self, cluster: VirtualCluster) -> None:
        put_client(cluster, LOGIN)
        put_derived(cluster)
        pair = Pair(cluster)
        pair.login.reconcile()
        pair.derived.reconcile()
        assert dict(forms(cluster)[1])["subject_token"] == "issued-1"


class TestWaiting:
    def test_it_waits_until_there_is_a_login(self, cluster: VirtualCluster) -> None:
        pair = Pair(cluster)
        put_derived(cluster)
        pair.derived.reconcile()
        assert cluster.status() == "WaitsForLogin"
        assert "Secret alice" in cluster.message()
        assert "does not exist" in cluster.message()
        assert cluster.message().endswith("; run: kubectl oauth2-csi describe alice -n physics")
        put(cluster, CLIENT | {"oauth": document(cluster.server.login("alice"))}, LOGIN)
        pair.event(pair.login)
        assert served(cluster) == "issued-1"

    def test_it_waits_while_the_login_has_no_token(self, cluster: VirtualCluster) -> None:
        cluster.server.script.append(answer(400, {"error": "invalid_grant"}))
        pair = Pair(cluster).begin()
        assert cluster.status() == "WaitsForLogin"
        assert "Secret alice" in cluster.message()
        assert "is NeedsReauth" in cluster.message()
        assert forms(cluster) == []
        cluster.now += RESEED_INTERVAL
        put(cluster, CLIENT | {"oauth": document(cluster.server.login("bob"))}, LOGIN)
        pair.event(pair.login)
        assert cluster.status() == "Ready"
        assert dict(forms(cluster)[0])["subject_token"] == "at-bob-1"

    def test_it_is_never_ready_when_it_has_expired(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.server.families.clear()
        pair.run_for(2 * LIFE)
        assert cluster.status(LOGIN) == "NeedsReauth"
        assert cluster.status() == "WaitsForLogin"
        before = len(forms(cluster))
        pair.run_for(10 * LIFE)
        assert len(forms(cluster)) == before, "and nothing is sent while it waits"

    @pytest.mark.parametrize("error", ["invalid_grant", "login_required"])
    def test_a_refused_login_is_named_and_tried_when_it_is_renewed(
        self, cluster: VirtualCluster, pair: Pair, error: str
    ) -> None:
        cluster.now += RESEED_INTERVAL
        cluster.server.script.append(answer(400, {"error": error}))
        put_derived(cluster, audience="x")
        pair.event(pair.derived)
        assert cluster.status() == "WaitsForLogin"
        assert "Secret alice" in cluster.message()
        assert "refuses its access token" in cluster.message()
        put(cluster, CLIENT | {"oauth": document(cluster.server.login("bob"))}, LOGIN)
        pair.event(pair.login)
        assert cluster.status() == "Ready"

    def test_a_refused_exchange_waits_once_the_login_has_ended(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        cluster.server.script.append(answer(400, {"error": "invalid_request"}))
        put_derived(cluster, audience="x")
        pair.event(pair.derived)
        assert cluster.status() == "Misconfigured"
        assert "that the login is still valid" in cluster.message()
        put(cluster, CLIENT | {"oauth": document("of nobody")}, LOGIN)
        pair.event(pair.login)
        assert (cluster.status(LOGIN), cluster.status()) == ("NeedsReauth", "WaitsForLogin")
        assert "Secret alice" in cluster.message()
        assert "is NeedsReauth" in cluster.message()

    def test_the_last_token_of_an_ended_login_changes_nothing_about_that(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        cluster.server.script.append(answer(400, {"error": "invalid_request"}))
        put_derived(cluster, audience="x")
        pair.event(pair.derived)
        login = pair.login.state.grant
        assert login is not None
        cluster.logins[LOGIN] = replace(login, status=Status.NEEDS_REAUTH)
        pair.derived.reconcile()
        assert cluster.status() == "WaitsForLogin"

    def test_a_login_that_stays_causes_few_attempts(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        cluster.server.script += [answer(400, {"error": "invalid_request"})] * 1000
        put_derived(cluster, audience="x")
        pair.event(pair.derived)
        for _ in range(50):
            pair.derived.reconcile()
        assert len(forms(cluster)) == 2

    def test_a_lost_answer_is_asked_for_again(self, cluster: VirtualCluster, pair: Pair) -> None:
        cluster.now += RESEED_INTERVAL
        cluster.server.script.append(LOST_BEFORE)
        put_derived(cluster, audience="x")
        pair.event(pair.derived)
        pair.run_for(30)
        assert cluster.status() == "Ready"


class TestDeletion:
    def test_it_ends_with_its_login(self, cluster: VirtualCluster, pair: Pair) -> None:
        del cluster.secrets[LOGIN.namespace, LOGIN.name]
        pair.event(pair.login)
        assert cluster.status() == "WaitsForLogin"
        assert served(cluster) == ""
        assert cluster.grant().expires_at == 0.0
        fresh = pair.derived.restarted()
        fresh.reconcile()
        fresh.run_for(LIFE)
        assert served(cluster) == ""
        assert len(forms(cluster)) == 1

    def test_while_it_waits_nothing_is_written(self, cluster: VirtualCluster, pair: Pair) -> None:
        del cluster.secrets[LOGIN.namespace, LOGIN.name]
        pair.event(pair.login)
        pair.derived.reconcile()
        writes = cluster.writes
        pair.derived.run_for(5 * RECHECK_SECONDS)
        assert cluster.writes == writes

    def test_a_login_that_returns_begins_it_anew(self, cluster: VirtualCluster, pair: Pair) -> None:
        login = cluster.secrets.pop((LOGIN.namespace, LOGIN.name))
        pair.event(pair.login)
        cluster.secrets[LOGIN.namespace, LOGIN.name] = login
        pair.event(pair.login)
        assert served(cluster) == "issued-2"

    def test_a_login_without_its_annotation_is_none(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        login = cluster.secrets[LOGIN.namespace, LOGIN.name]
        cluster.secrets[LOGIN.namespace, LOGIN.name] = replace(login, annotations={})
        pair.event(pair.login)
        assert served(cluster) == ""

    def test_a_process_that_does_not_know_the_login_yet_takes_nothing_away(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.logins.clear()
        pair.derived.reconcile()
        assert served(cluster) == "issued-1"
        assert cluster.status() == "Ready"

    def test_a_later_namespace_gets_nothing(self, cluster: VirtualCluster, pair: Pair) -> None:
        for ref in (LOGIN, REF):
            del cluster.secrets[ref.namespace, ref.name]
        pair.event(pair.derived)
        pair.event(pair.login)
        cluster.namespace_uids["physics"] = "uid-of-another"
        put_derived(cluster)
        pair.event(pair.derived)
        assert cluster.status() == "WaitsForLogin"
        assert served(cluster) == ""
        assert len(forms(cluster)) == 1

    def test_a_later_namespace_gets_nothing_of_a_login_that_nobody_has_looked_at_since(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        for ref in (LOGIN, REF):
            del cluster.secrets[ref.namespace, ref.name]
        cluster.namespace_uids["physics"] = "uid-of-another"
        put_derived(cluster)
        pair.event(pair.derived)
        assert (cluster.status(), served(cluster)) == ("WaitsForLogin", "")
        put(cluster, CLIENT | {"oauth": document(cluster.server.login("bob"))}, LOGIN)
        pair.event(pair.derived)
        pair.event(pair.login)
        assert cluster.status() == "Ready"
        subjects = [dict(form)["subject_token"] for form in forms(cluster)]
        assert subjects == ["at-alice-1", "at-bob-1"]


class TestDepth:
    def test_a_token_is_not_its_own_login(self, cluster: VirtualCluster) -> None:
        put_derived(cluster, login=REF.name)
        process(cluster).reconcile()
        assert cluster.status() == "Misconfigured"
        assert forms(cluster) == []

    def test_two_do_not_wait_for_each_other(self, cluster: VirtualCluster) -> None:
        put_derived(cluster)
        put(cluster, {}, LOGIN, grant_type="token-exchange", login=REF.name)
        for ref in (REF, LOGIN):
            process(cluster, ref=ref).reconcile()
            assert cluster.status(ref) == "Misconfigured"
        assert forms(cluster) == []

    @pytest.mark.usefixtures("pair")
    def test_the_limits_of_the_logins_client_hold(self, cluster: VirtualCluster) -> None:
        slots = [e for e in cluster.done if isinstance(e, AcquireSendSlot) and e.ref == REF]
        assert [slot.client.client_id for slot in slots] == [CLIENT["clientID"]]

    @pytest.mark.usefixtures("pair")
    def test_a_derived_token_is_no_login(self, cluster: VirtualCluster) -> None:
        third = SourceRef("physics", "third")
        put(cluster, {}, third, grant_type="token-exchange", login=REF.name)
        running = process(cluster, ref=third)
        running.reconcile()
        assert cluster.status(third) == "Misconfigured"
        assert f"names Secret {REF.name}" in cluster.message(third)
        assert len(forms(cluster)) == 1

    def test_a_login_that_becomes_a_derived_token_is_none_any_more(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        put(cluster, CLIENT, LOGIN, grant_type="token-exchange", login=REF.name)
        pair.event(pair.login)
        pair.run_for(3 * LIFE)
        assert len(forms(cluster)) <= 2, "the login's last token is used while it lives"
        assert {dict(form)["subject_token"] for form in forms(cluster)} == {"at-alice-1"}
        assert "Ready" not in (cluster.status(), cluster.status(LOGIN))

    def test_an_invalid_source_does_not_use_a_derived_login(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        put_derived(cluster, params="no json")
        pair.event(pair.derived)
        nested = GrantType.TOKEN_EXCHANGE
        cluster.logins[LOGIN] = replace(cluster.grant(LOGIN), grant_type=nested, generation=9)
        pair.derived.reconcile()
        assert len(forms(cluster)) == 1

    def test_a_login_at_another_issuer_gets_nothing_of_its_own_client(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        fresh = pair.derived.restarted()
        moved = replace(cluster.grant(LOGIN), issuer="other", generation=9)
        cluster.logins[LOGIN] = moved
        fresh.reconcile()
        assert len(forms(cluster)) == 1
        assert cluster.status() == "Misconfigured"

    def test_the_logins_client_goes_to_its_issuer_only(
        self, cluster: VirtualCluster, pair: Pair
    ) -> None:
        cluster.now += RESEED_INTERVAL
        pair.derived.issuer = Issuer("other", issuer="https://other.example")
        put_derived(cluster, issuer="other")
        pair.event(pair.derived)
        assert cluster.status() == "Misconfigured"
        assert "set a clientID in this Secret" in cluster.message()
        assert len(forms(cluster)) == 1


def token(scope: str | None = None, **claims: Any) -> TokenResponse:
    stated = {} if scope is None else {"scope": scope}
    body = {"access_token": jwt(**claims), "expires_in": LIFE, "token_type": "Bearer"}
    return answer(200, body | stated)


class TestExcess:
    @pytest.mark.parametrize(
        ("login", "asked", "reply", "expected"),
        [
            (token("a b"), {}, token("a"), "Ready"),
            (token("a b"), {}, token("a c"), "Misconfigured"),
            (token(scope="a b"), {}, token(scope="b"), "Ready"),
            (token(scope="a b"), {}, token(scp=["b", "c"]), "Misconfigured"),
            (token("a"), {}, token(), "Ready"),
            (token(), {}, token("a"), "Ready"),
            (token(aud="x"), {"audience": "y"}, token(aud="y"), "Ready"),
            (token(aud="x"), {"audience": "y"}, token(aud="x"), "Misconfigured"),
            (token(aud=["x", "y"]), {"audience": "y"}, token(aud=["y", "x"]), "Misconfigured"),
            (token(aud="x"), {"resource": "https://y"}, token(aud="x"), "Misconfigured"),
            (token(aud="x"), {"audience": "x"}, token(aud="x"), "Ready"),
            (token(aud="x"), {}, token(aud="x"), "Ready"),
            (token(), {"audience": "y"}, token(jti="another"), "Ready"),
            (token(), {"audience": "y"}, token(), "Misconfigured"),
            (token(), {}, token(), "Ready"),
        ],
    )
    def test_a_token_may_do_no_more_than_was_asked_for(
        self,
        cluster: VirtualCluster,
        login: TokenResponse,
        asked: dict[str, str],
        reply: TokenResponse,
        expected: str,
    ) -> None:
        cluster.server.script += [login, reply]
        put_client(cluster, LOGIN)
        put_derived(cluster, **asked)
        lifted = TokenExchangeSettings(wider_scope=True, same_audience=True)
        pair = Pair(cluster)
        pair.login.reconcile()
        pair.derived.reconcile()
        assert cluster.status() == expected, cluster.message()
        assert bool(served(cluster)) is (expected == "Ready")
        if expected == "Ready":
            return
        assert "the operator for tokenExchange" in cluster.message()
        cluster.server.script.append(reply)
        pair.derived.issuer = replace(OPEN, token_exchange=lifted)
        pair.derived.reconcile()
        pair.derived.run_for(11)
        assert cluster.status() == "Ready"


def test_no_effect_of_it_shows_a_token(cluster: VirtualCluster, pair: Pair) -> None:
    pair.run_for(LIFE)
    assert "at-alice" not in repr(pair.derived.state)
    assert "at-alice" not in repr(cluster.done)
