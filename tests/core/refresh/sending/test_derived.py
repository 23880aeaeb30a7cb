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
    put_client,
    put_derived,
    served,
)
from tests.core.refresh.virtual_cluster import (
    LIFE,
    REF,
    Process,
    VirtualCluster,
    document,
    run_together,
)
from tests.core.refresh.virtual_server import answer

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
NESTED = GrantType.TOKEN_EXCHANGE


class Pair:
    """A login and a token that is made from it, in one process, woken as the controller does."""

    def __init__(self, cluster: VirtualCluster, issuer: Issuer = OPEN) -> None:
        self.cluster = cluster
        self.login = process(cluster, issuer, LOGIN)
        self.derived = process(cluster, issuer, REF)

    def reconcile(self) -> "Pair":
        self.login.reconcile()
        self.derived.reconcile()
        return self

    def put_login(self, name: str) -> None:
        self.cluster.put(CLIENT | {"oauth": document(self.cluster.server.login(name))}, LOGIN)

    def login_as(self, name: str) -> None:
        """Reconcile a new login."""
        self.put_login(name)
        self.event(self.login)

    def edit(self, **notes: str) -> None:
        """Reconcile an edit of the derived token's source."""
        self.cluster.now += RESEED_INTERVAL
        put_derived(self.cluster, **notes)
        self.event(self.derived)

    def event(self, running: Process) -> None:
        """Reconcile after an edit, and whoever depends on the result."""
        running.reconcile(event=True)
        if running is self.login and REF in self.cluster.derived.get(LOGIN, ()):
            self.derived.reconcile()

    def run_for(self, seconds: float) -> None:
        def reconcile(running: Process) -> None:
            before = version(self.cluster.logins.get(LOGIN))
            running.reconcile()
            if version(self.cluster.logins.get(LOGIN)) != before:
                self.derived.reconcile()

        run_together(seconds, self.login, self.derived, reconcile=reconcile)

    def subjects(self) -> list[str]:
        """The access tokens that were exchanged."""
        return [dict(form)["subject_token"] for form in forms(self.cluster)]

    def waits(self, reason: str) -> bool:
        """Return True if the derived token waits for its login, and says why."""
        message = self.cluster.message()
        named = "Secret alice" in message and reason in message
        return self.cluster.status() == "WaitsForLogin" and named


def version(login: Any) -> object:
    return login and (login.generation, login.status)


@pytest.fixture
def pair(cluster: VirtualCluster) -> Pair:
    pair = Pair(cluster)
    pair.put_login("alice")
    put_derived(cluster)
    return pair.reconcile()


class TestTheQuietLife:
    def test_it_is_made_from_the_logins_access_token(self, pair: Pair) -> None:
        cluster = pair.cluster
        assert served(cluster) == "issued-1"
        [(_, client, form)] = cluster.server.forms
        assert client == "robot", "the login's client asks, as the Secret names none"
        assert dict(form)["grant_type"] == EXCHANGE
        assert dict(form)["subject_token"] == "at-alice-1"
        assert dict(form)["subject_token_type"].endswith(":access_token")
        slots = [e for e in cluster.done if isinstance(e, AcquireSendSlot) and e.ref == REF]
        assert [slot.client.client_id for slot in slots] == ["robot"]
        fresh = pair.derived.restarted()
        assert cluster.cost(fresh.reconcile) == (0, 0)
        assert len(forms(cluster)) == 1

    def test_it_follows_each_renewal_of_the_login(self, pair: Pair) -> None:
        cluster = pair.cluster
        pair.run_for(4 * LIFE)
        renewals = [f"at-alice-{number}" for number in range(1, len(cluster.server.presented) + 1)]
        assert list(dict.fromkeys(pair.subjects())) == renewals
        assert cluster.status() == "Ready"
        sent = {value for form in forms(cluster) for _, value in form}
        assert not sent & set(cluster.server.families["alice"]), "no refresh token is among them"
        assert "at-alice" not in repr(pair.derived.state)
        assert "at-alice" not in repr(cluster.done)


class TestWaiting:
    def test_it_waits_until_there_is_a_login(self, cluster: VirtualCluster) -> None:
        pair = Pair(cluster)
        put_derived(cluster)
        pair.derived.reconcile()
        assert pair.waits("does not exist")
        assert cluster.message().endswith("; run: kubectl oauth2-csi describe alice -n physics")
        pair.login_as("alice")
        assert served(cluster) == "issued-1"

    def test_one_more_than_a_namespace_may_have_does_not_wait(
        self, cluster: VirtualCluster
    ) -> None:
        cluster.tokens[LOGIN] = (0.0, frozenset())
        put_derived(cluster)
        waiting = replace(process(cluster), tokens_per_namespace=1)
        waiting.reconcile()
        assert "tokensPerNamespace" in cluster.message()
        assert waiting.state.next_reconcile is None

    def test_it_is_never_ready_when_it_has_expired(self, pair: Pair) -> None:
        cluster = pair.cluster
        cluster.server.families.clear()
        pair.run_for(2 * LIFE)
        assert cluster.status(LOGIN) == "NeedsReauth"
        assert pair.waits("is NeedsReauth")
        before = len(forms(cluster))
        pair.run_for(10 * LIFE)
        assert len(forms(cluster)) == before, "and nothing is sent while it waits"
        pair.login_as("bob")
        assert cluster.status() == "Ready"
        assert pair.subjects()[-1] == "at-bob-1"

    @pytest.mark.parametrize("error", ["invalid_grant", "login_required"])
    def test_a_refused_login_is_named(self, pair: Pair, error: str) -> None:
        pair.cluster.server.script.append(answer(400, {"error": error}))
        pair.edit(audience="x")
        assert pair.waits("refuses its access token")
        pair.login_as("bob")
        assert pair.cluster.status() == "Ready"

    def test_an_exchange_that_the_end_of_the_login_refuses_waits(self, pair: Pair) -> None:
        cluster = pair.cluster
        cluster.logins[LOGIN] = replace(cluster.logins[LOGIN], status=Status.NEEDS_REAUTH)
        cluster.server.script += [answer(400, {"error": "invalid_request"})]
        pair.edit(audience="x")
        assert len(forms(cluster)) == 2
        assert pair.waits("is NeedsReauth"), "nothing else happens to the login that would say so"


class TestDeletion:
    def test_it_ends_with_its_login(self, pair: Pair) -> None:
        cluster = pair.cluster
        login = cluster.secrets.pop((LOGIN.namespace, LOGIN.name))
        pair.event(pair.login)
        assert cluster.status() == "WaitsForLogin"
        assert served(cluster) == ""
        assert cluster.grant().expires_at == 0.0
        fresh = pair.derived.restarted_for(0)
        assert cluster.cost(lambda: fresh.run_for(5 * RECHECK_SECONDS))[1] == 0
        fresh.run_for(LIFE)
        assert served(cluster) == ""
        assert len(forms(cluster)) == 1
        cluster.secrets[LOGIN.namespace, LOGIN.name] = login
        pair.event(pair.login)
        assert served(cluster) == "issued-2", "a login that returns begins it anew"

    def test_a_login_that_is_not_known_yet_takes_nothing_away(self, pair: Pair) -> None:
        pair.cluster.logins.clear()
        pair.derived.reconcile()
        assert served(pair.cluster) == "issued-1"
        assert pair.cluster.status() == "Ready"

    def test_a_later_namespace_gets_nothing(self, pair: Pair) -> None:
        cluster = pair.cluster
        cluster.now += RESEED_INTERVAL
        for ref in (LOGIN, REF):
            del cluster.secrets[ref.namespace, ref.name]
        cluster.namespace_uids["physics"] = "uid-of-another"
        put_derived(cluster)
        pair.event(pair.derived)
        assert (cluster.status(), served(cluster)) == ("WaitsForLogin", "")
        pair.put_login("bob")
        pair.event(pair.derived)
        pair.event(pair.login)
        assert cluster.status() == "Ready"
        assert pair.subjects() == ["at-alice-1", "at-bob-1"]


class TestDepth:
    def test_a_token_is_not_its_own_login(self, cluster: VirtualCluster) -> None:
        put_derived(cluster, login=REF.name)
        process(cluster).reconcile()
        assert cluster.status() == "Misconfigured"
        assert forms(cluster) == []

    def test_two_do_not_wait_for_each_other(self, cluster: VirtualCluster) -> None:
        put_derived(cluster)
        cluster.put({}, LOGIN, grant_type="token-exchange", login=REF.name)
        for ref in (REF, LOGIN):
            process(cluster, ref=ref).reconcile()
            assert cluster.status(ref) == "Misconfigured"
        assert forms(cluster) == []

    @pytest.mark.usefixtures("pair")
    def test_a_derived_token_is_no_login(self, cluster: VirtualCluster) -> None:
        third = SourceRef("physics", "third")
        cluster.put({}, third, grant_type="token-exchange", login=REF.name)
        process(cluster, ref=third).reconcile()
        assert cluster.status(third) == "Misconfigured"
        assert f"names Secret {REF.name}" in cluster.message(third)
        assert len(forms(cluster)) == 1

    def test_the_logins_client_goes_to_its_issuer_only(self, pair: Pair) -> None:
        pair.derived.issuer = Issuer("other", issuer="https://other.example")
        pair.edit(issuer="other")
        assert pair.cluster.status() == "Misconfigured"
        assert "set a clientID in this Secret" in pair.cluster.message()
        assert len(forms(pair.cluster)) == 1


def token(scope: str | None = None, **claims: Any) -> TokenResponse:
    stated = {} if scope is None else {"scope": scope}
    body = {"access_token": jwt(**claims), "expires_in": LIFE, "token_type": "Bearer"}
    return answer(200, body | stated)


class TestExcess:
    @pytest.mark.parametrize(
        ("login", "asked", "reply", "expected"),
        [
            (token("a b"), {}, token("a c"), "Misconfigured"),
            (token(scope="a b"), {}, token(scope="b"), "Ready"),
            (token(scope="a b"), {}, token(scp=["b", "c"]), "Misconfigured"),
            (token(aud="x"), {"audience": "y"}, token(aud="y"), "Ready"),
            (token(aud="x"), {"audience": "y"}, token(aud="x"), "Misconfigured"),
            (token(aud=["x", "y"]), {"audience": "y"}, token(aud=["y", "x"]), "Misconfigured"),
            (token(aud="x"), {}, token(aud="x"), "Ready"),
            (token(), {"audience": "y"}, token(jti="another"), "Ready"),
            (token(), {"audience": "y"}, token(), "Misconfigured"),
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
        pair = Pair(cluster).reconcile()
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
