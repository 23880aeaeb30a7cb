"""A namespace is deleted and made again under its name: its new owner gets nothing of the old."""

from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.companion import AccessToken
from csidriver.core.kubernetes.change import TokenObject
from csidriver.core.login_command import ask_for_login
from csidriver.core.names import FIELD_MANAGER, SourceRef
from csidriver.core.refresh import effects, grant_secret, messages
from csidriver.core.refresh.grant import Grant
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import StoreRefused
from tests.core.refresh.virtual_cluster import (
    COMPANION,
    GRANT,
    LIFE,
    REF,
    SOURCE,
    Process,
    VirtualCluster,
    document,
)

# What the new owner of a namespace puts into a Secret of the old name.
OWNERS = {
    "nothing": None,
    "invalid": "{}",
    "old seed": document("alice-0"),
    "live token": document("alice-1"),
    "other issuer": document("eve-0"),
    "forged": document("alice-0"),
}


def hand_over(cluster: VirtualCluster, owner: str) -> None:
    """Delete the namespace, and make it again for somebody else."""
    del cluster.secrets[SOURCE]
    cluster.namespace_uids[REF.namespace] = "another-uid"
    text = OWNERS[owner]
    if text is not None:
        stored = cluster.apply(text, issuer="unknown" if owner == "other issuer" else "")
        if owner == "forged":
            # As if the driver had written it.
            cluster.secrets[SOURCE] = replace(stored, manager=FIELD_MANAGER)


def take_over(running: Process, owner: str) -> VirtualCluster:
    """Let the process see the new owner's Secret."""
    hand_over(running.cluster, owner)
    running.reconcile(event=True)
    return running.cluster


def assert_nothing_of_alice(cluster: VirtualCluster) -> None:
    given = cluster.secrets.get(COMPANION)
    assert given is None or "alice" not in str([value.reveal() for value in given.data.values()])
    if SOURCE in cluster.secrets:
        kept = cluster.source()
        assert annotations.EXPIRES_AT not in kept.annotations
        assert "alice-1" not in kept.data["oauth"].reveal()


@pytest.mark.parametrize("owner", [owner for owner in OWNERS if owner != "live token"])
@pytest.mark.parametrize("meanwhile", ["running", "restarted", "down for an hour"])
def test_a_new_owner_without_a_login_gets_nothing_of_the_old_one(
    running: Process, owner: str, meanwhile: str
) -> None:
    cluster, process = running.cluster, running
    sent = cluster.server.tokens()
    hand_over(cluster, owner)
    if meanwhile != "running":
        cluster.now += 3700 if meanwhile == "down for an hour" else 0
        process = running.restarted()
    process.reconcile(event=meanwhile == "running")
    assert_nothing_of_alice(cluster)
    process.run_for(2 * LIFE)
    process.reconcile(event=True)
    assert_nothing_of_alice(cluster)
    assert cluster.server.tokens() == sent
    if owner == "old seed":
        assert cluster.shown() == "NeedsReauth"
        assert cluster.message() == ask_for_login(messages.EARLIER_NAMESPACE_MESSAGE, REF)


@pytest.mark.parametrize("before", ["nothing", "invalid", "old seed"])
def test_a_new_login_begins_a_grant_of_its_own(running: Process, before: str) -> None:
    generation = running.cluster.companion().generation
    cluster = take_over(running, before)
    sent = len(cluster.server.tokens())
    running.login_as("eve")
    assert cluster.server.tokens()[sent:] == ["eve-0"]
    assert (cluster.live(), cluster.mirrored()) == ("eve-1", "eve-1")
    assert cluster.grant().namespace_uid == cluster.companion().namespace_uid == "another-uid"
    assert cluster.companion().generation > generation
    assert cluster.status() == "Ready"
    running.edit(document("alice-0"))
    running.run_for(LIFE)
    assert set(cluster.server.tokens()[sent:]) == {"eve-0", "eve-1"}


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "grant deleted"])
def test_who_has_the_live_token_owns_the_login(running: Process, *, deleted: bool) -> None:
    cluster, tokens = running.cluster, list[AccessToken | None]()
    earlier = cluster.companion().token
    hand_over(cluster, "live token")
    if deleted:
        del cluster.secrets[GRANT]
        running.observe(TokenObject.GRANT)
    cluster.after = lambda _: tokens.append(cluster.companion().token)
    running.reconcile(event=True)
    running.run_for(1)
    assert cluster.live() == "alice-2"
    assert cluster.grant().namespace_uid == "another-uid"
    assert earlier is not None
    assert earlier.value not in {token.value for token in tokens[-3:] if token}


@pytest.mark.parametrize("seen", ["nothing", "invalid"])
def test_an_unreadable_source_does_not_bring_the_token_back(running: Process, seen: str) -> None:
    cluster = take_over(running, seen)
    assert_nothing_of_alice(cluster)
    cluster.fail_next(effects.GetSecret, StoreRefused("no right"))
    with pytest.raises(StoreRefused):
        running.reconcile(event=True)
    assert_nothing_of_alice(cluster)


def test_an_unreadable_grant_gives_the_new_owner_nothing(running: Process) -> None:
    running.meddle(TokenObject.GRANT, data={})
    cluster = take_over(running, "old seed")
    assert_nothing_of_alice(cluster)
    assert cluster.status() == "Invalid"


def test_a_namespace_that_goes_during_an_adoption_gets_no_grant(process: Process) -> None:
    process.cluster.namespace_uids[REF.namespace] = ""
    process.reconcile()
    assert GRANT not in process.cluster.secrets
    assert process.cluster.server.tokens() == []


def test_a_secret_made_again_in_its_namespace_goes_on(running: Process) -> None:
    cluster = running.cluster
    running.delete()
    assert cluster.companion().token is None
    assert cluster.companion().message == ask_for_login(messages.DELETED_MESSAGE, REF)
    sent = cluster.server.tokens()
    running.edit(document("alice-0"))
    given = cluster.companion()
    assert (given.status, given.token is None) == (Status.READY, False)
    assert cluster.server.tokens() == sent


def as_stored_before(cluster: VirtualCluster, kept: Grant) -> None:
    secret = cluster.secrets[GRANT]
    data = grant_secret.to_data(kept)
    text = data[grant_secret.STATE].reveal().replace('"namespaceUid": "", ', "")
    assert "namespaceUid" not in text
    data[grant_secret.STATE] = Sensitive(text)
    cluster.store(replace(secret, data=data))


def test_a_grant_of_an_earlier_release_takes_the_namespace_it_finds(running: Process) -> None:
    cluster = running.cluster
    as_stored_before(cluster, replace(cluster.grant(), namespace_uid=""))
    running.restarted().reconcile()
    assert cluster.grant().namespace_uid == cluster.companion().namespace_uid == "uid-of-physics"
    running.run_for(LIFE)
    assert cluster.live() == "alice-2"


@pytest.mark.parametrize("uid", ["uid-of-physics", ""])
def test_a_grant_of_an_earlier_release_takes_no_later_namespace(running: Process, uid: str) -> None:
    cluster = running.cluster
    as_stored_before(cluster, replace(cluster.grant(), namespace_uid=""))
    sent = cluster.server.tokens()
    del cluster.secrets[SOURCE]
    cluster.namespace_uids[REF.namespace] = uid
    process = running.restarted_for(0)
    cluster.namespace_uids[REF.namespace] = "another-uid"
    process.edit(document("alice-0"))
    process.run_for(2 * LIFE)
    assert_nothing_of_alice(cluster)
    assert cluster.server.tokens() == sent
    assert cluster.status() == "NeedsReauth"


def test_a_withheld_grant_does_not_keep_its_login_from_another_secret(running: Process) -> None:
    cluster = running.cluster
    token, moved = cluster.live(), SourceRef("chemistry", "moved")
    take_over(running, "invalid")
    cluster.now += 1
    Process(cluster, ref=moved).edit(document(token))
    assert cluster.status(moved) == "Ready"
    cluster.now += 1
    running.edit(document(token))
    assert cluster.status() == "DuplicateGrant"
    assert cluster.server.tokens().count(token) == 1
