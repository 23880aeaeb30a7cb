"""Tokens of other grants than a refresh token's: they rotate, and say why they cannot."""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from csidriver.core.annotations import AUDIENCE, GRANT_TYPE, IS_TOKEN, ISSUER, LOGIN, MESSAGE, SCOPE
from csidriver.core.oauth.grant_type import GrantType
from csidriver.demo.grants.grant_log import GrantRequest
from tests.e2e import trust
from tests.e2e.cluster import Cluster, Manifest, until
from tests.e2e.user_namespace import (
    CLIENT,
    TokenFile,
    UserNamespace,
    inject,
    new_user_namespace,
    pod,
    secret,
    volume,
)
from tests.issuer.issuer import ScriptedIssuer

PATH = "/tmp/oauthtk_0"


@pytest.fixture
def trusted(driver: Cluster) -> Iterator[UserNamespace]:
    """The namespace that may use the client that has no secret."""
    yield new_user_namespace(driver, trust.NAMESPACE)
    driver.kubectl("delete", "namespace", trust.NAMESPACE, "--wait=false")


def grant_secret(
    name: str, grant_type: GrantType, data: Mapping[str, str], annotations: Mapping[str, str]
) -> Manifest:
    """A Secret without a login of its own."""
    noted = {IS_TOKEN: "true", GRANT_TYPE: grant_type.value, AUDIENCE: "storage", **annotations}
    metadata = {"name": name, "annotations": noted}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(data)}


def claims(issuer: ScriptedIssuer, file: TokenFile) -> Mapping[str, Any]:
    """Return what the token of a file says; the server has signed it."""
    found = issuer.verify(file.content)
    assert found is not None
    return found


def rotated(user: UserNamespace, issuer: ScriptedIssuer, before: TokenFile) -> Mapping[str, Any]:
    """Wait for the next token in the same file of the pod `main`; return its claims."""
    after = user.wait_for_change("main", PATH, before)
    assert after.inode == before.inode
    return claims(issuer, after)


def requests(issuer: ScriptedIssuer, client_id: str, grant_type: GrantType) -> list[GrantRequest]:
    """Return the requests of a client for a grant."""
    rows = issuer.grants.requests()
    return [r for r in rows if (r.client_id, r.grant_type) == (client_id, grant_type.parameter)]


@contextlib.contextmanager
def switched_off(issuer: ScriptedIssuer, client_id: str, grant_type: GrantType) -> Iterator[None]:
    """Let the server refuse a grant to a client for a while."""
    issuer.grants.switch(grant_type.parameter, client_id, on=False)
    try:
        yield
    finally:
        issuer.grants.switch(grant_type.parameter, client_id, on=True)


def assert_fails_clearly(
    user: UserNamespace, issuer: ScriptedIssuer, name: str, grant_type: GrantType
) -> None:
    """Secret, pods that come now, and server: all know that the client may not use the grant."""
    user.wait_for_status(name, "ClientRejected")
    refused = f"the client may not use the grant {grant_type.value}; allow it for this client"
    assert user.get("secret", name)["metadata"]["annotations"][MESSAGE].endswith(f": {refused}")
    kept = user.file("main", PATH)
    assert issuer.verify(kept.content) is not None, "the pod keeps what it has"
    user.apply(pod("late", volumes=[volume(name, owner="0")]))
    text = until("a pod says so", lambda: [t for t in user.mount_failures("late") if refused in t])
    assert "ClientRejected" in text[0]
    assert user.file("main", PATH) == kept


def has_refresh_token(user: UserNamespace, name: str) -> bool:
    """Return True if the mirror of a Secret's token has one."""
    return "refresh_token" in json.loads(
        base64.b64decode(user.get("secret", name)["data"]["oauth"])
    )


def test_a_pod_has_a_token_of_client_credentials(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    kind, data = GrantType.CLIENT_CREDENTIALS, {"clientID": CLIENT}
    data |= {"clientSecret": "my-app-client-secret"}
    user.apply(grant_secret("own", kind, data, {SCOPE: "email"}), pod("main", inject("own", 0)))
    user.wait_until_running("main")
    first = user.file("main", PATH)
    for found in (claims(issuer, first), rotated(user, issuer, first)):
        assert (found["sub"], found["aud"], found["scope"]) == (CLIENT, ["storage"], "email")
    assert not has_refresh_token(user, "own")
    with switched_off(issuer, CLIENT, kind):
        assert_fails_clearly(user, issuer, "own", kind)
        assert len([row for row in requests(issuer, CLIENT, kind) if row.error]) == 1
        last = user.file("main", PATH)
    user.kubectl("annotate", "secret", "own", f"{AUDIENCE}=compute", "--overwrite")
    user.wait_for_status("own", "Ready")
    assert rotated(user, issuer, last)["aud"] == ["compute"]
    user.wait_until_running("late")


def test_a_pod_has_a_token_derived_from_the_announcements_login(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    kind = GrantType.TOKEN_EXCHANGE
    derived = grant_secret("derived", kind, {}, {LOGIN: "mine", SCOPE: "email"})
    user.apply(secret("mine", issuer.seed(CLIENT)), derived, pod("main", inject("derived", 0)))
    user.wait_until_running("main")
    user.wait_for_status("mine", "Ready")
    login = issuer.verify(user.access_token("mine")) or {}
    first = user.file("main", PATH)
    for found in (claims(issuer, first), rotated(user, issuer, first)):
        assert (found["sub"], found["sid"]) == (login["sub"], login["sid"])
        assert (found["aud"], found["scope"]) == (["storage"], "email")
    assert not has_refresh_token(user, "derived")
    with switched_off(issuer, CLIENT, kind):
        assert_fails_clearly(user, issuer, "derived", kind)
        user.wait_for_next_token("mine")
        assert user.status("mine") == "Ready", "the login goes on"
        last = user.file("main", PATH)
    user.wait_for_status("derived", "Ready")
    assert rotated(user, issuer, last)["sid"] == login["sid"]
    user.wait_until_running("late")
    assert issuer.max_presentations() == 1


def test_a_pod_has_a_token_of_a_client_without_any_secret(
    trusted: UserNamespace, user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    kind, data = GrantType.CLIENT_CREDENTIALS, {"clientID": trust.CLIENT}
    # The issuer's allowedParams are empty.
    batch = grant_secret("batch", kind, data, {ISSUER: trust.ISSUER, AUDIENCE: ""})
    user.apply(batch)
    user.wait_for_status("batch", "Misconfigured")
    message = user.get("secret", "batch")["metadata"]["annotations"][MESSAGE]
    assert f"does not let namespace {user.name!r} use this clientID" in message
    assert requests(issuer, trust.CLIENT, kind) == []

    trusted.apply(batch, pod("main", inject("batch", 0)))
    trusted.wait_until_running("main")
    first = trusted.file("main", PATH)
    for found in (claims(issuer, first), rotated(trusted, issuer, first)):
        assert (found["sub"], found["aud"]) == (trust.CLIENT, trust.CLIENT)
    for row in requests(issuer, trust.CLIENT, kind):
        assert row.every("client_assertion")
        assert not row.every("client_secret")
    with switched_off(issuer, trust.CLIENT, kind):
        assert_fails_clearly(trusted, issuer, "batch", kind)
