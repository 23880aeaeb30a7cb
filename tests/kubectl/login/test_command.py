"""The whole command, with the cluster, the server and the browser of the tests."""

import argparse
import base64
import json
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings
from csidriver.kubectl.errors import LoginFailed, NotFound
from csidriver.kubectl.login import command
from tests.kubectl.login.authorization_server import (
    TOKENS,
    AuthorizationServer,
    FakeBrowser,
    FakeTerminal,
)
from tests.kubectl.login.fake_cluster import FakeKubectl, source

READY = {"status": "Ready", "refreshed_at": "2026-01-01T00:00:00Z", "expires_at": "then"}


class Rig:
    """A login of a user whose cluster knows one issuer, the scripted server."""

    def __init__(self, server: AuthorizationServer, terminal: FakeTerminal | None = None) -> None:
        self.server = server
        self.terminal = terminal or FakeTerminal()
        login = {"clientID": "cli", "scopes": [], "deviceFlow": False, "params": {}}
        entry = {"name": "as", "issuer": server.issuer, "default": True, "internal": True}
        self.kubectl = FakeKubectl(entry | {"login": login})
        self.kubectl.after_write = lambda: self.kubectl.annotate(**READY)

    def run(self, *words: str, name: str = "hello") -> int:
        parser = argparse.ArgumentParser()
        parser.add_argument("--driver-namespace", default="oauth2-csi")
        command.add(parser.add_subparsers(required=True))
        # Any port, as other tests have the usual ones.
        usual = ["login", "--redirect-url=http://127.0.0.1:0/callback"]
        args = parser.parse_args([*usual, *words, name])
        status: int = args.run(args, self.kubectl, self.terminal)
        return status

    def fails(self, text: str, *words: str) -> None:
        """Run, and see that it ends with one sentence and no write."""
        with pytest.raises(LoginFailed, match=text) as failure:
            self.run(*words)
        assert "\n" not in str(failure.value)
        assert self.kubectl.writes == []

    @property
    def asked_the_user(self) -> bool:
        return bool(self.server.sent_to("/authorize") or self.server.sent_to("/device"))


@pytest.fixture
def rig(browser: FakeBrowser) -> Iterator[Rig]:
    assert browser.opened == []
    with AuthorizationServer() as server:
        yield Rig(server)


def test_a_login_creates_a_secret_and_waits_until_it_is_ready(rig: Rig) -> None:
    assert rig.run() == 0
    assert json.loads(rig.kubectl.decoded()["oauth"]) == TOKENS
    assert rig.kubectl.decoded()["clientID"] == "cli"
    marks = rig.kubectl.secret()["metadata"]["annotations"]
    assert marks[annotations.IS_TOKEN] == "true"
    assert marks[annotations.ISSUER] == "as"
    text = "Secret physics/hello is Ready; its access token is valid until then.\n"
    assert rig.terminal.out.getvalue() == text
    assert rig.server.sent_to("/authorize")[0]["scope"] == "openid offline_access"


def test_an_existing_secret_gets_the_new_login(rig: Rig) -> None:
    rig.kubectl.put(source(data={"oauth": "{}", "clientID": "cli", "extra": "kept"}))
    assert rig.run() == 0
    assert json.loads(rig.kubectl.decoded()["oauth"]) == TOKENS
    assert rig.kubectl.decoded()["extra"] == "kept"


@pytest.mark.parametrize(("client", "said"), [("app", True), ("cli", False)])
def test_another_client_than_that_of_the_operator_is_said(
    rig: Rig,
    client: str,
    said: bool,  # noqa: FBT001
) -> None:
    rig.kubectl.put(source(data={"oauth": "{}", "clientID": client}))
    assert rig.run() == 0
    assert rig.server.sent_to("/authorize")[0]["client_id"] == client
    line = "The Secret is of client 'app', so this one logs in."
    assert (line in rig.terminal.err.getvalue()) is said
    assert ("'cli' does: kubectl delete secret hello -n physics" in rig.terminal.text) is said


def test_a_code_is_enough_where_the_issuer_has_the_device_flow(rig: Rig) -> None:
    assert rig.run("--device") == 0
    assert "ABCD-EFGH" in rig.terminal.err.getvalue()
    assert rig.server.sent_to("/authorize") == []


@pytest.mark.parametrize(
    ("existing", "words", "text"),
    [
        (source(notes={annotations.IS_TOKEN: None}), (), "kubectl annotate secret hello"),
        (source() | {"immutable": True}, (), "kubectl delete secret hello"),
        (source(), ("--client-id=other",), "of client 'cli'.*kubectl delete secret hello"),
        (source(notes={annotations.ISSUER: "lab"}), ("--issuer=as",), "of issuer lab"),
        (None, ("--issuer=lab",), "choose one of: as"),
        (None, ("--redirect-url=http://example.org",), "--redirect-url"),
        (None, ("--ca-file=/nowhere",), "--ca-file"),
        (None, ("--client-secret-file=/nowhere",), "--client-secret-file"),
        (None, ("--print-to=/nowhere/x",), "--print-to"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_user_is_asked(
    rig: Rig, existing: dict[str, Any] | None, words: tuple[str, ...], text: str
) -> None:
    if existing:
        rig.kubectl.put(existing)
    rig.fails(text, *words)
    assert not rig.asked_the_user


@pytest.mark.parametrize("verb", ["get", "create"])
def test_missing_rights_are_named_before_the_user_is_asked(rig: Rig, verb: str) -> None:
    rig.kubectl.refused = {verb}
    rig.fails(f"you may not {verb} secrets")
    assert not rig.asked_the_user


def test_a_policy_of_the_cluster_is_told_before_the_user_is_asked(rig: Rig) -> None:
    rig.kubectl.policy = "exceeded quota"
    rig.fails("would not take Secret physics/hello: exceeded quota")
    rig.fails("would not take Secret", "--dry-run")
    assert not rig.asked_the_user


def test_a_namespace_that_does_not_exist_is_told_before_the_user_is_asked(rig: Rig) -> None:
    rig.kubectl.namespaces.clear()
    with pytest.raises(NotFound, match=r"^there is no namespace physics; kubectl get namespaces"):
        rig.run()
    assert not rig.asked_the_user


@pytest.mark.parametrize("name", ["Hello", "a/b", "a\x1b[2J", "x" * 300, ""])
def test_a_name_that_no_secret_has_is_refused(rig: Rig, name: str) -> None:
    with pytest.raises(LoginFailed, match="NAME must be a name of a Secret"):
        rig.run(name=name)


@pytest.mark.parametrize(
    ("path", "reply", "text"),
    [
        ("/token", (400, {"error": "invalid_grant"}), "does not accept the code"),
        ("/token", None, "does not answer"),
        ("/token", (200, {"access_token": "at"}), "no refresh token"),
        ("/.well-known/openid-configuration", (200, {"issuer": "x"}), "of another issuer"),
    ],
)
def test_a_login_that_fails_changes_no_secret(rig: Rig, path: str, reply: Any, text: str) -> None:
    rig.server.script(path, reply)
    rig.fails(text)
    assert ("secret", "hello") not in rig.kubectl.objects


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ((400, {"error": "access_denied"}), "denied in the browser"),
        ((400, {"error": "expired_token"}), "the code has expired"),
    ],
)
def test_a_code_that_is_denied_or_expires_changes_no_secret(
    rig: Rig, reply: Any, text: str
) -> None:
    rig.kubectl.put(source())
    rig.server.script("/token", reply)
    rig.fails(text, "--device")
    assert rig.kubectl.secret() == source()


def test_a_failed_refresh_is_told(rig: Rig) -> None:
    rig.kubectl.after_write = lambda: rig.kubectl.annotate(
        status="ClientRejected", message="as: refused"
    )
    with pytest.raises(LoginFailed, match="it is ClientRejected: as: refused"):
        rig.run()


def test_nobody_needs_to_wait(rig: Rig) -> None:
    rig.kubectl.after_write = lambda: None
    before = time.monotonic()
    assert rig.run("--wait=0") == 0
    assert time.monotonic() - before < 30
    assert "The login is in Secret physics/hello." in rig.terminal.text


def test_a_dry_run_says_what_it_would_do(rig: Rig) -> None:
    rig.kubectl.put(source())
    assert rig.run("--dry-run") == 0
    assert not rig.asked_the_user
    assert rig.kubectl.writes == []
    said = rig.terminal.out.getvalue()
    for words in ("issuer: as http", "client: cli", "openid offline_access", "change key oauth of"):
        assert words in said


class TestPrint:
    """The Secret as YAML instead of a write."""

    def test_a_pipe_gets_it(self, rig: Rig) -> None:
        rig.kubectl.refused = {"get", "create", "patch"}
        assert rig.run("--print") == 0
        manifest = yaml.safe_load(rig.terminal.out.getvalue())
        assert json.loads(base64.b64decode(manifest["data"]["oauth"])) == TOKENS
        assert manifest["metadata"]["namespace"] == "physics"
        assert rig.kubectl.writes == []
        assert "rt-1" not in rig.terminal.err.getvalue()

    def test_a_terminal_does_not(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        stdout = StringIO()
        monkeypatch.setattr(stdout, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdout", stdout)
        rig.fails("--print would show the tokens on the terminal", "--print")
        assert not rig.asked_the_user

    def test_a_file_gets_it_and_only_its_owner_reads_it(self, rig: Rig, tmp_path: Path) -> None:
        path = tmp_path / "secret.yaml"
        assert rig.run(f"--print-to={path}") == 0
        assert path.stat().st_mode & 0o777 == 0o600
        assert yaml.safe_load(path.read_text())["kind"] == "Secret"
        assert rig.terminal.out.getvalue() == ""

    def test_a_file_that_exists_is_kept(self, rig: Rig, tmp_path: Path) -> None:
        path = tmp_path / "secret.yaml"
        path.write_text("mine")
        rig.fails("needs a new file", f"--print-to={path}")
        assert path.read_text() == "mine"

    @pytest.mark.parametrize("name", ["absent/secret.yaml", "x" * 300])
    def test_a_file_that_cannot_be_made_is_told_before_the_user_is_asked(
        self, rig: Rig, tmp_path: Path, name: str
    ) -> None:
        rig.fails("needs a new file|cannot be written", f"--print-to={tmp_path / name}")
        assert not rig.asked_the_user
        assert list(tmp_path.iterdir()) == []


class TestInterrupt:
    """Ctrl-C."""

    def test_before_the_write_nothing_is_changed(self, browser: FakeBrowser) -> None:
        class Interrupted(FakeTerminal):
            def ask(self, question: str) -> str:  # noqa: ARG002
                raise KeyboardInterrupt

        assert browser.opened == []
        with AuthorizationServer() as server:
            rig = Rig(server, Interrupted())
            assert rig.run("--no-browser") == 130
        assert rig.kubectl.writes == []
        assert rig.terminal.err.getvalue().endswith("Interrupted; no Secret was changed.\n")

    def test_after_the_write_it_is_said(self, rig: Rig) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        rig.kubectl.after_write = interrupt
        assert rig.run() == 130
        assert rig.terminal.text.endswith("Interrupted; the Secret may have the new login.\n")


class TestClientSecret:
    """Confidential clients."""

    @staticmethod
    def sent(rig: Rig) -> str:
        [token_request] = [sent for sent in rig.server.requests if sent.path == "/token"]
        kind, _, pair = token_request.headers["Authorization"].partition(" ")
        assert kind == "Basic"
        return base64.b64decode(pair).decode()

    def test_a_file_has_it(self, rig: Rig, tmp_path: Path) -> None:
        file = tmp_path / "s"
        file.write_text("s3cret\n")
        assert rig.run("--client-id=app", f"--client-secret-file={file}") == 0
        assert self.sent(rig) == "app:s3cret"
        assert rig.kubectl.decoded()["clientSecret"] == "s3cret"

    def test_the_user_types_it(self, browser: FakeBrowser) -> None:
        class Typing(FakeTerminal):
            def ask_secret(self, question: str) -> Sensitive:
                self.report(question)
                return Sensitive("s3cret")

        assert browser.opened == []
        with AuthorizationServer() as server:
            rig = Rig(server, Typing())
            assert rig.run("--client-id=app", "--ask-client-secret") == 0
            assert self.sent(rig) == "app:s3cret"
        assert "Secret of client app:" in rig.terminal.text
        assert "s3cret" not in rig.terminal.text

    def test_the_existing_secret_has_it(self, rig: Rig) -> None:
        rig.kubectl.put(source(data={"oauth": "{}", "clientID": "app", "clientSecret": "s3cret"}))
        assert rig.run() == 0
        assert self.sent(rig) == "app:s3cret"
        assert rig.kubectl.decoded()["clientSecret"] == "s3cret"


class TestIssuers:
    """The issuers that the cluster publishes."""

    def test_without_them_the_flags_are_named(self, rig: Rig) -> None:
        rig.kubectl.objects.clear()
        rig.fails("--driver-namespace, or an issuer with --issuer-url and --client-id")

    def test_without_them_an_address_and_a_client_are_enough(self, rig: Rig) -> None:
        rig.kubectl.objects.clear()
        assert rig.run(f"--issuer-url={rig.server.issuer}", "--client-id=own", "--web") == 0
        assert rig.kubectl.decoded()["clientID"] == "own"
        assert annotations.ISSUER not in rig.kubectl.secret()["metadata"]["annotations"]

    def test_a_broken_document_is_told(self, rig: Rig) -> None:
        document = {"issuers.json": ""}
        rig.kubectl.objects["configmap", "oauth2-csi-issuers-public"] = {"data": document}
        with pytest.raises(InvalidSettings, match=r"issuers\.json is not JSON"):
            rig.run()

    def test_a_document_that_nobody_has_written_is_told(self, rig: Rig) -> None:
        rig.kubectl.objects["configmap", "oauth2-csi-issuers-public"] = {"data": {}}
        with pytest.raises(LoginFailed, match="no refresher has written it"):
            rig.run()
