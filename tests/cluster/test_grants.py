"""Tokens that nobody logs in for, from the token request to the file: all three roles are real."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from csidriver.core.annotations import (
    AUDIENCE,
    GRANT_TYPE,
    IS_TOKEN,
    KEY_CLIENT_ID,
    KEY_CLIENT_SECRET,
    KEY_OAUTH,
    LOGIN,
    MESSAGE,
    STATUS,
)
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.noderole import ClusterNode, NodeRole
from tests.cluster.user_namespace import UserNamespace
from tests.node.plugin import eventually
from tests.processes import page_of, running
from tests.refresher.bench import LONG, Bench, until

pytestmark = [pytest.mark.tools(*PROGRAMS), pytest.mark.mounts]
NS = "grants"
# The user's Secrets: a login, a token made from it, and one of the client's own.
LOGGED_IN, DERIVED, OWN = "logged-in", "derived", "own"
SECONDS = 40.0
_POLICY = replace(LONG, refresh_token_unasked=True)


class Grants(contextlib.ExitStack):
    """A strict server, and a refresher, a broker and a node at a real API server."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self._cluster = cluster
        self._folder = folder
        self._refresher = self.enter_context(contextlib.ExitStack())
        self.user = UserNamespace(cluster, NS)
        self.bench = self.enter_context(Bench(folder, _POLICY))
        self.bench.configure(self.bench.entry(allowedParams=["audience"]))
        role = self.enter_context(contextlib.closing(NodeRole(cluster.plane, folder)))
        self.node = ClusterNode(role, NS, OWN, DERIVED)
        self.enter_context(contextlib.closing(self.node))
        self.node.start()

    def start(self) -> None:
        """Start the refresher, and wait until it works."""
        flags = ["--store=kubernetes", f"--kubeconfig={self._cluster.refresher}"]
        flags += [f"--issuers={self.bench.issuers}", "--listen=127.0.0.1:0"]
        flags += ["--lease-duration=3", "--lease-renew=1", f"--spool-dir={self._folder / 'spool'}"]
        _, log = self._refresher.enter_context(running("refresher", *flags))
        until(lambda: page_of(log, "readyz") == (200, "ok\n"), "the refresher is ready")

    def restart(self) -> None:
        self._refresher.close()
        self.start()

    def log_in(self) -> None:
        """Apply the Secret of a fresh sign-in."""
        self.user.apply(LOGGED_IN, self.bench.issuer.seed(DEMO_CLIENT.client_id))

    def apply(self, name: str, data: Mapping[str, str], **annotations: str) -> None:
        noted = {IS_TOKEN: "true", AUDIENCE: "storage", **annotations}
        metadata = {"name": name, "annotations": noted}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
        self.user.kubectl("apply", stdin=secret)

    def apply_own(self, name: str = OWN) -> None:
        """Apply a Secret with the credentials of a client alone."""
        secret = DEMO_CLIENT.client_secret or Sensitive("")
        data = {KEY_CLIENT_ID: DEMO_CLIENT.client_id, KEY_CLIENT_SECRET: secret.reveal()}
        self.apply(name, data, **{GRANT_TYPE: GrantType.CLIENT_CREDENTIALS.value})

    def apply_derived(self) -> None:
        """Apply a Secret that holds nothing."""
        exchange = {GRANT_TYPE: GrantType.TOKEN_EXCHANGE.value, LOGIN: LOGGED_IN}
        self.apply(DERIVED, {}, **exchange)

    def wait(self, status: str, *names: str) -> None:
        for name in names:
            until(lambda name=name: self.annotation(name, STATUS) == status, f"{name} is {status}")  # type: ignore[misc]

    def annotation(self, name: str, key: str) -> str:
        return self.user.source(name).annotations.get(key, "")

    def mirror(self, name: str) -> str:
        """Return the document in a user's Secret."""
        return self.user.source(name).data[KEY_OAUTH].reveal()

    def publish(self, name: str) -> None:
        """Mount the token of a Secret, in a volume of its name."""
        self.node.publish(self.node.request(name, {"secretName": name}))

    def claims(self, name: str) -> Mapping[str, Any]:
        """Return what the mounted token says; it is the server's."""
        claims = self.bench.issuer.verify(self.node.content(name))
        assert claims is not None
        return claims

    def sent(self) -> tuple[int, int]:
        """Return how many token requests the server has had, without and with a refresh token."""
        issuer = self.bench.issuer
        return len(issuer.grants.requests()), len(issuer.presentations())


@pytest.fixture
def grants(cluster: Cluster, tmp_path: Path) -> Iterator[Grants]:
    """A refresher that works, and three Secrets that are ready."""
    with Grants(cluster, tmp_path) as grants:
        grants.start()
        grants.log_in()
        grants.apply_own()
        grants.apply_derived()
        grants.wait("Ready", LOGGED_IN, OWN, DERIVED)
        yield grants


def test_both_grants_reach_their_files_and_rotate(grants: Grants) -> None:
    for name in (OWN, DERIVED):
        grants.publish(name)
        assert grants.claims(name)["aud"] == ["storage"]
    assert grants.claims(OWN)["sub"] == DEMO_CLIENT.client_id
    assert grants.claims(DERIVED)["sub"] == "demo-user"
    first = {name: grants.node.content(name) for name in (OWN, DERIVED)}
    grants.user.refresh_repeatedly(OWN)
    eventually(lambda: grants.node.content(OWN) != first[OWN], "the client's own", SECONDS)
    assert grants.node.content(DERIVED) == first[DERIVED]
    grants.user.refresh_repeatedly(LOGGED_IN)
    eventually(lambda: grants.node.content(DERIVED) != first[DERIVED], "the derived", SECONDS)
    for name in (OWN, DERIVED):
        assert grants.claims(name)["aud"] == ["storage"]
        until(lambda name=name: grants.node.content(name) in grants.mirror(name), "the mirror")  # type: ignore[misc]
        assert "refresh_token" not in grants.mirror(name)
    assert set(grants.bench.outcomes()) == {"rotated"}


def test_a_deleted_login_ends_its_derived_token_at_once(grants: Grants) -> None:
    grants.publish(DERIVED)
    kept = grants.node.content(DERIVED)
    grants.user.kubectl("delete", "secret", LOGGED_IN)
    until(lambda: is_empty(grants, DERIVED), "the companion is empty")
    grants.wait("WaitsForLogin", DERIVED)
    message = grants.annotation(DERIVED, MESSAGE)
    assert f"Secret {LOGGED_IN}," in message
    assert f"does not exist; run: kubectl oauth2-csi describe {LOGGED_IN} -n {NS}" in message
    code, text = grants.node.refused(grants.node.request("late", {"secretName": DERIVED}))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"Secret {LOGGED_IN}," in text
    assert grants.node.content(DERIVED) == kept, "who runs keeps his file"
    assert not is_empty(grants, OWN)
    grants.log_in()
    grants.wait("Ready", LOGGED_IN, DERIVED)
    eventually(lambda: grants.node.content(DERIVED) != kept, "a token of the new login", SECONDS)


def is_empty(grants: Grants, name: str) -> bool:
    companion = grants.user.companion(name)
    return companion is not None and companion.token is None


def test_a_restart_sends_nothing_for_good_tokens(grants: Grants) -> None:
    requests, presentations = grants.sent()
    grants.restart()
    grants.apply_own("later")
    grants.wait("Ready", "later")
    assert grants.sent() == (requests + 1, presentations), "the later one alone"
    assert grants.bench.issuer.grants.requests()[-1].grant_type == "client_credentials"
    # The refresher still knows who is made from whom.
    grants.user.refresh_repeatedly(LOGGED_IN)
    until(lambda: grants.sent() == (requests + 2, presentations + 1), "the derived one follows")
