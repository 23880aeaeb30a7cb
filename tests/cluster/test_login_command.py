"""`kubectl oauth2-csi login` with real programs: kubectl, API server, refresher, the demo's server.

A user who clicks is played by HTTP requests; the pages in a real browser have tests of their own.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core import annotations, names
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.public_issuers import ISSUERS_JSON, render_public_issuers
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT, LOGIN_CLIENT
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.kubectl import write_kubeconfig
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.faults import DropBefore, StatusReply
from tests.issuer.issuer import ScriptedIssuer
from tests.kubectl.login.login_process import LoginProcess, decide
from tests.kubectl_store import LAST_APPLIED
from tests.refresher.bench import LONG, Bench, until
from tools.programs import program

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "grace"


class Installation(contextlib.ExitStack):
    """A cluster with a refresher and one issuer, at which users log in."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__()
        cluster.reset_namespaces(NS)
        self.plane = cluster.plane
        self.folder = folder
        self.issuer = self.enter_context(
            ScriptedIssuer(clients=[DEMO_CLIENT, LOGIN_CLIENT], policy=LONG)
        )
        self.issuer.logins.interval = 1.0
        login = {"clientID": LOGIN_CLIENT.client_id}
        entry = {"name": "demo", "issuer": self.issuer.url, "default": True, "internal": True}
        self.publish(entry | {"login": login})
        bench = self.enter_context(Bench(folder))
        bench.configure(entry)
        bench.start(KubernetesStore(cluster.client()))
        self.user = UserNamespace(cluster, NS)
        self.kubeconfig = self.plane.kubeconfig

    def publish(self, entry: dict[str, Any]) -> None:
        """Write what the refresher publishes for users."""
        issuers = Issuers.parse([("test", {"issuers": [entry]})])
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.PUBLIC_ISSUERS, "namespace": names.DRIVER_NAMESPACE},
            "data": {ISSUERS_JSON: render_public_issuers(issuers)},
        }
        self.plane.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))

    def login(self, *words: str, name: str = "hello", stdin: str = "") -> LoginProcess:
        flags = [f"--kubeconfig={self.kubeconfig}", f"--namespace={NS}"]
        usual = [name, "--redirect-url=http://127.0.0.1:0/callback", *flags]
        environment = {"KUBECTL": str(program("kubectl"))}
        return LoginProcess(self.folder, [*usual, *words], environment, stdin)

    def log_in_with_code(self, decision: str = "allow") -> tuple[int, str]:
        """Return the exit status and all that was printed."""
        with self.login("--device") as login:
            address = login.find(r"(http://\S+user_code=\S+)")
            decide(address, "/device", decision)
            return login.wait(), login.text

    def log_in_with_browser(self, decision: str = "allow") -> tuple[int, str]:
        with self.login("--web") as login:
            decide(login.opened(), "/authorize", decision)
            return login.wait(), login.text

    def secret(self) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{NS}/secrets/hello"
        found: dict[str, Any] = self.plane.api("GET", path)
        return found

    def restrict(self, verbs: list[str]) -> None:
        """Log in as a user who may use some verbs of Secrets, and read the published issuers."""
        self.plane.kubectl("create", "serviceaccount", "user", f"--namespace={NS}")
        subject = [f"--serviceaccount={NS}:user"]
        for namespace, resource, allowed in (
            (NS, "secrets", verbs),
            (names.DRIVER_NAMESPACE, "configmaps", ["get"]),
        ):
            where = f"--namespace={namespace}"
            role = ["create", "role", "user", f"--resource={resource}", where]
            self.plane.try_kubectl("delete", "role,rolebinding", "user", where)
            self.plane.kubectl(*role, *(f"--verb={verb}" for verb in allowed))
            self.plane.kubectl("create", "rolebinding", "user", "--role=user", where, *subject)
        token = self.plane.kubectl("create", "token", "user", f"--namespace={NS}").strip()
        self.kubeconfig = self.folder / "user.kubeconfig"
        write_kubeconfig(self.kubeconfig, self.plane.server, self.plane.ca, token)


@pytest.fixture
def installation(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    with Installation(cluster, tmp_path) as installed:
        yield installed
        cluster.plane.try_kubectl("delete", "serviceaccount", "user", f"--namespace={NS}")


@pytest.mark.parametrize("flow", ["code", "browser"])
def test_a_login_ends_in_a_secret_that_is_ready_and_rotates(
    installation: Installation, flow: str
) -> None:
    log_in = {
        "code": installation.log_in_with_code,
        "browser": installation.log_in_with_browser,
    }[flow]
    status, text = log_in()
    assert status == 0, text
    assert f"Secret {NS}/hello is Ready; its access token is valid until 20" in text
    source = installation.user.source("hello")
    assert source.annotations[annotations.STATUS] == "Ready"
    assert source.data[annotations.KEY_CLIENT_ID] == Sensitive(LOGIN_CLIENT.client_id)
    installation.user.refresh_repeatedly("hello", 2)
    assert {row.outcome for row in installation.issuer.presentations()} == {"rotated"}


def test_a_revoked_login_is_mended_by_the_next_one(installation: Installation) -> None:
    assert installation.log_in_with_code()[0] == 0
    grant = installation.user.grant("hello")
    assert grant is not None
    assert grant.document.refresh_token is not None
    installation.issuer.revoke(grant.document.refresh_token)
    installation.user.make_due("hello")
    until(lambda: installation.user.source("hello").annotations[annotations.STATUS] != "Ready")
    status, text = installation.log_in_with_browser()
    assert status == 0, text
    assert installation.user.source("hello").annotations[annotations.STATUS] == "Ready"
    # Only apply writes it, and it would hold the refresh token.
    assert LAST_APPLIED not in installation.secret()["metadata"]["annotations"]


@pytest.mark.parametrize("flow", ["code", "browser"])
def test_a_denied_login_changes_nothing(installation: Installation, flow: str) -> None:
    log_in = {
        "code": installation.log_in_with_code,
        "browser": installation.log_in_with_browser,
    }[flow]
    status, text = log_in("deny")
    assert status == 1
    assert text.count("error: the login was denied in the browser") == 1
    assert installation.secret()["kind"] == "Status"


def test_a_server_that_fails_for_a_while_is_waited_for(installation: Installation) -> None:
    # The refresh that follows the login must not meet them.
    installation.issuer.add_faults(DropBefore(), StatusReply(503, b"busy"))
    with installation.login("--device") as login:
        address = login.find(r"(http://\S+user_code=\S+)")
        login.find("(The authorization server does not answer)")
        decide(address, "/device", "allow")
        assert login.wait() == 0, login.text


@pytest.mark.parametrize("missing", ["create", "patch"])
def test_missing_rights_are_named_before_the_user_is_asked(
    installation: Installation, missing: str
) -> None:
    if missing == "patch":
        installation.user.create("hello", Sensitive("seed"))
    installation.restrict(["get", {"create": "patch", "patch": "create"}[missing]])
    with installation.login("--device") as login:
        assert login.wait() == 1
        assert f"error: you may not {missing} secrets" in login.text
        assert "user_code" not in login.text


def test_the_least_rights_are_enough(installation: Installation) -> None:
    installation.restrict(["get", "create", "patch"])
    assert installation.log_in_with_code()[0] == 0
    assert installation.log_in_with_code()[0] == 0


def test_an_immutable_secret_is_refused_with_the_command(installation: Installation) -> None:
    installation.user.create("hello", Sensitive("seed"))
    patch = ["patch", "secret", "hello", "--type=merge", '--patch={"immutable":true}']
    installation.user.kubectl(*patch)
    with installation.login() as login:
        assert login.wait() == 1
        assert f"kubectl delete secret hello -n {NS}" in login.text


def test_a_namespace_that_does_not_exist_is_named_before_the_user_is_asked(
    installation: Installation,
) -> None:
    with installation.login("--device", "--namespace=nowhere") as login:
        assert login.wait() == 1
        assert login.text.startswith("error: there is no namespace nowhere; ")
        assert "user_code" not in login.text


def test_a_printed_secret_can_be_applied(installation: Installation) -> None:
    file = installation.folder / "secret.yaml"
    with installation.login("--device", f"--print-to={file}") as login:
        decide(login.find(r"(http://\S+user_code=\S+)"), "/device", "allow")
        assert login.wait() == 0, login.text
    assert installation.secret()["kind"] == "Status"
    installation.plane.kubectl("apply", f"--filename={file}")
    until(lambda: annotations.REFRESHED_AT in installation.user.source("hello").annotations)
