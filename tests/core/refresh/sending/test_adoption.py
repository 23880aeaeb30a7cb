"""How a source begins and changes a grant without a refresh token (docs/protocol.md 10)."""

from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.refresh import effects
from csidriver.core.refresh.adopt import RESEED_INTERVAL
from csidriver.core.refresh.reconcile import recover_spooled
from csidriver.core.refresh.state import RefreshContext
from tests.core.refresh.grants import jwt, token_document
from tests.core.refresh.hooks import once
from tests.core.refresh.sending.sources import CLIENT, OPEN, forms, process, put_client, served
from tests.core.refresh.virtual_cluster import (
    LIFE,
    REF,
    Process,
    VirtualCluster,
    document,
    run_together,
)
from tests.core.refresh.virtual_server import LOST_AFTER, START

OTHER = Issuer("other", issuer="https://other.example")


def adopted(cluster: VirtualCluster) -> Process:
    put_client(cluster)
    running = process(cluster)
    running.reconcile()
    cluster.now += RESEED_INTERVAL
    return running


def edited(running: Process) -> None:
    running.reconcile(event=True)
    running.run_for(1)


class TestEdits:
    def test_other_fields_begin_anew(self, cluster: VirtualCluster) -> None:
        running = adopted(cluster)
        seen: list[str] = []
        cluster.before = once(
            lambda effect: isinstance(effect, effects.RequestRepeatable),
            lambda: seen.append(served(cluster)),
        )
        put_client(cluster, params='{"tenant": "t"}')
        edited(running)
        assert seen == [""], "nobody gets the old token as if it were the new one"
        assert served(cluster) == "issued-2"
        assert len(forms(cluster)[1]) == 2
        cluster.now += RESEED_INTERVAL
        cluster.put(CLIENT | {"clientID": "second"})
        edited(running)
        assert [client for _, client, _ in cluster.server.forms] == ["robot", "robot", "second"]

    def test_another_secret_counts_from_the_next_request(self, cluster: VirtualCluster) -> None:
        running = adopted(cluster)
        cluster.put(CLIENT | {"clientSecret": "better"})
        edited(running)
        assert served(cluster) == "issued-1"
        running.run_for(LIFE)
        sent = [e for e in cluster.done if isinstance(e, effects.RequestRepeatable)]
        assert [e.client.client_secret.reveal() for e in sent] == ["s3cret", "better"]

    def test_who_edits_in_a_loop_causes_few_requests(self, cluster: VirtualCluster) -> None:
        running = adopted(cluster)
        for number in range(100):
            put_client(cluster, scope=f"s{number}")
            running.reconcile(event=True)
            running.run_for(1)
        running.run_for(RESEED_INTERVAL)
        assert len(forms(cluster)) <= 2 + 100 / RESEED_INTERVAL
        assert forms(cluster)[-1][1] == ("scope", "s99")


class TestTheIssuer:
    def test_one_that_moved_begins_anew(self, cluster: VirtualCluster) -> None:
        running = adopted(cluster).restarted()
        running.issuer = replace(OPEN, issuer="https://moved.example")
        running.reconcile()
        running.run_for(1)
        assert served(cluster) == "issued-2"
        assert cluster.grant().issuer_identity == "https://moved.example"


class TestRefreshTokens:
    """A refresh token stays in the grant and is not sent by another grant type."""

    def logged_in(self, cluster: VirtualCluster, issuer: Issuer = OPEN) -> Process:
        oauth = document(cluster.server.login("alice"))
        cluster.put(CLIENT | {"oauth": oauth}, issuer=issuer.name)
        running = process(cluster, issuer)
        running.reconcile()
        running.run_for(60)
        return running

    def switched(self, cluster: VirtualCluster) -> Process:
        running = self.logged_in(cluster)
        self.switch(running, "client_credentials")
        return running

    def switch(self, running: Process, grant_type: str = "refresh_token") -> None:
        running.cluster.annotate(annotations.GRANT_TYPE, grant_type)
        edited(running)

    def test_it_stays_and_is_neither_sent_nor_a_duplicate(self, cluster: VirtualCluster) -> None:
        running = self.switched(cluster)
        grant, oauth = cluster.grant(), cluster.source().data["oauth"].reveal()
        assert '"alice-1"' in grant.document.to_json().reveal()
        assert grant.token_hashes == frozenset()
        assert '"alice-1"' in oauth
        assert "issued-1" in oauth
        assert "at-alice-1" not in oauth
        running.run_for(3 * LIFE)
        assert cluster.server.tokens() == ["alice-0"]
        assert served(cluster).startswith("issued-")

    def test_switching_back_goes_on_with_it(self, cluster: VirtualCluster) -> None:
        running = self.switched(cluster)
        cluster.now += 60
        self.switch(running)
        assert cluster.server.tokens() == ["alice-0", "alice-1"]
        assert served(cluster) == "at-alice-2"
        grant = cluster.grant()
        assert (grant.grant_type.value, grant.params, grant.login) == ("refresh_token", (), "")

    def test_a_duplicate_stays_one_however_often_the_older_grant_rotates(
        self, cluster: VirtualCluster
    ) -> None:
        older, ref = self.logged_in(cluster), SourceRef("physics", "copy")
        keys = {key: value.reveal() for key, value in cluster.source().data.items()}
        cluster.put(keys, ref, issuer=OPEN.name)
        copy = process(cluster, OPEN, ref)
        copy.reconcile()
        copy.run_for(RESEED_INTERVAL)
        assert cluster.status(ref) == "DuplicateGrant"
        for grant_type in ("client_credentials", None):
            cluster.put(keys, ref, grant_type=grant_type)
            edited(copy)
            run_together(25 * LIFE, older, copy)
        assert cluster.presented_twice() == []
        assert cluster.status() == "Ready"

    @pytest.mark.parametrize("replies", [False, True], ids=["no reply", "a late reply"])
    def test_one_that_may_be_spent_is_not_tried_again(
        self, cluster: VirtualCluster, *, replies: bool
    ) -> None:
        running = self.logged_in(cluster)
        cluster.server.script.append(LOST_AFTER)
        running.run_for(LIFE)
        assert cluster.status() == "LostRotation"
        sent = cluster.server.tokens()
        self.switch(running, "client_credentials")
        if replies:
            reply = token_document(refresh_token="alice-2", access_token="late", expires_in=LIFE)
            entry = effects.SpoolEntry("n", cluster.now, reply, cluster.grant().live_hash)
            cluster.spool[REF] = entry
        cluster.annotate(annotations.SCOPE, "another")
        running.run_for(60)
        edited(running)
        assert forms(cluster)[-1][1:] == [("scope", "another")]
        cluster.now += 60
        keys = {key: value.reveal() for key, value in cluster.source().data.items()}
        cluster.put(keys, scope=None, grant_type=None)
        edited(running)
        assert cluster.server.tokens() == sent
        assert cluster.status() == ("Ready" if replies else "LostRotation")
        assert served(cluster) == ("late" if replies else "")

    def test_a_new_one_is_kept_for_later(self, cluster: VirtualCluster) -> None:
        running = self.switched(cluster)
        cluster.now += 60
        cluster.put(CLIENT | {"oauth": document(cluster.server.login("bob"))})
        edited(running)
        assert '"bob-0"' in cluster.source().data["oauth"].reveal()
        cluster.now += 60
        self.switch(running)
        assert cluster.server.tokens()[-1] == "bob-0"
        assert served(cluster) == "at-bob-1"

    def test_another_issuer_is_refused(self, cluster: VirtualCluster) -> None:
        running = self.logged_in(cluster, OTHER)
        running.issuer = OPEN
        put_client(cluster, issuer="cern")
        edited(running)
        assert cluster.status() == "Misconfigured"
        assert "a refresh token of issuer 'other'" in cluster.message()
        assert forms(cluster) == []

    def test_a_reply_of_the_last_request_is_stored_before(self, cluster: VirtualCluster) -> None:
        running = self.logged_in(cluster)
        reply = token_document(refresh_token="alice-2", access_token="x")
        cluster.spool[REF] = effects.SpoolEntry("n", cluster.now, reply, cluster.grant().live_hash)
        self.switch(running, "client_credentials")
        assert '"alice-2"' in cluster.grant().document.to_json().reveal()
        assert cluster.spool == {}

    def test_a_reply_that_comes_afterwards_waits(self, cluster: VirtualCluster) -> None:
        running = self.switched(cluster)
        reply = token_document(refresh_token="alice-2", access_token="of-alice", expires_in=LIFE)
        live_hash = cluster.grant().live_hash
        cluster.spool[REF] = effects.SpoolEntry("n", cluster.now, reply, live_hash)
        cluster.server.families["alice"].append("alice-2")
        context = RefreshContext(Issuers({"cern": OPEN}), "pod-1")
        cluster.run(recover_spooled(REF.grant, context))
        assert "of-alice" not in cluster.grant().document.to_json().reveal()
        running.run_for(LIFE)
        assert served(cluster).startswith("issued-")
        cluster.now += 60
        self.switch(running)
        assert cluster.server.tokens() == ["alice-0", "alice-2"]
        assert cluster.live() == "alice-3"


class TestOwners:
    def test_a_later_namespace_gets_nothing_of_the_grant(self, cluster: VirtualCluster) -> None:
        running = adopted(cluster)
        running.delete()
        assert served(cluster) == ""
        cluster.namespace_uids["physics"] = "uid-of-another"
        put_client(cluster, scope="not allowed")
        running.issuer = replace(OPEN, allowed_params=())
        edited(running)
        assert served(cluster) == ""
        assert cluster.status() == "Misconfigured"
        put_client(cluster, scope=None)
        edited(running)
        assert served(cluster) == "issued-2"
        assert cluster.grant().namespace_uid == "uid-of-another"


def test_an_access_token_that_a_user_put_in_is_not_used(cluster: VirtualCluster) -> None:
    users = jwt(iat=START - 1, exp=START + LIFE)
    oauth = document(cluster.server.login("alice"), access_token=users)
    cluster.put(CLIENT | {"oauth": oauth}, grant_type="client_credentials")
    cluster.server.alive = False
    process(cluster).reconcile()
    assert served(cluster) == ""


def test_what_is_no_document_is_not_overwritten(cluster: VirtualCluster) -> None:
    cluster.put(CLIENT | {"oauth": "precious"}, grant_type="client_credentials")
    process(cluster).reconcile()
    assert cluster.status() == "Invalid"
    assert cluster.source().data["oauth"].reveal() == "precious"
