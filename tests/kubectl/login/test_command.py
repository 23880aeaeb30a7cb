"""The whole command, with the cluster, the server and the browser of the tests."""

import argparse
import base64
import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
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

    def __init__(self, server: AuthorizationServer) -> None:
        self.server = server
        self.terminal = FakeTerminal()
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
def rig(server: AuthorizationServer, browser: FakeBrowser) -> Rig:
    assert browser.opened == []
    return Rig(server)


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


@pytest.mark.parametrize(
    ("existing", "words", "text"),
    [
        (source() | {"immutable": True}, (), "kubectl delete secret hello"),
        (source(), ("--client-id=other",), "of client 'cli'.*kubectl delete secret hello"),
        (None, ("--issuer=lab",), "choose one of: as"),
        (None, ("--redirect-url=http://example.org",), "--redirect-url"),
        (None, ("--ca-file=/nowhere",), "--ca-file"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_user_is_asked(
    rig: Rig, existing: dict[str, Any] | None, words: tuple[str, ...], text: str
) -> None:
    if existing:
        rig.kubectl.put(existing)
    rig.fails(text, *words)
    assert not rig.asked_the_user


def test_a_policy_of_the_cluster_is_told_before_the_user_is_asked(rig: Rig) -> None:
    rig.kubectl.policy = "exceeded quota"
    rig.fails("would not take Secret physics/hello: exceeded quota")
    rig.fails("would not take Secret", "--dry-run")
    assert not rig.asked_the_user


def test_a_name_that_no_secret_has_is_refused(rig: Rig) -> None:
    with pytest.raises(LoginFailed, match="NAME must be a name of a Secret"):
        rig.run(name="a\x1b[2J")


def test_a_dry_run_says_what_it_would_do_with_which_client(rig: Rig) -> None:
    rig.kubectl.put(source(data={"oauth": "{}", "clientID": "app"}))
    assert rig.run("--dry-run") == 0
    assert not rig.asked_the_user
    assert rig.kubectl.writes == []
    said = rig.terminal.out.getvalue()
    for words in ("issuer: as http", "client: app", "openid offline_access", "change key oauth of"):
        assert words in said
    assert "The Secret is of client 'app', so this one logs in." in rig.terminal.err.getvalue()


def test_a_terminal_gets_no_secret(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = StringIO()
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stdout)
    rig.fails("--print would show the tokens on the terminal", "--print")
    assert not rig.asked_the_user


def test_a_new_file_gets_the_secret_and_only_its_owner_reads_it(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    rig.kubectl.refused = {"get", "create", "patch"}
    assert rig.run(f"--print-to={path}") == 0
    assert path.stat().st_mode & 0o777 == 0o600
    manifest = yaml.safe_load(path.read_text())
    assert json.loads(base64.b64decode(manifest["data"]["oauth"])) == TOKENS
    assert manifest["metadata"]["namespace"] == "physics"
    assert rig.terminal.out.getvalue() == ""
    asked = len(rig.server.requests)
    for name in ("secret.yaml", "absent/secret.yaml", "x" * 300):
        rig.fails("needs a new file|cannot be written", f"--print-to={tmp_path / name}")
    assert list(tmp_path.iterdir()) == [path]
    assert len(rig.server.requests) == asked


def test_an_interrupt_after_the_write_says_so(rig: Rig) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    rig.kubectl.after_write = interrupt
    assert rig.run() == 130
    assert rig.terminal.text.endswith("Interrupted; the Secret may have the new login.\n")


def test_the_secret_of_a_client_can_be_typed(rig: Rig) -> None:
    class Typing(FakeTerminal):
        def ask_secret(self, question: str) -> Sensitive:
            self.report(question)
            return Sensitive("s3cret")

    rig.terminal = Typing()
    assert rig.run("--client-id=app", "--ask-client-secret") == 0
    assert rig.server.headers()["authorization"] == "Basic YXBwOnMzY3JldA=="
    assert "Secret of client app:" in rig.terminal.text
    assert "s3cret" not in rig.terminal.text


def test_without_published_issuers_the_flags_are_named_and_are_enough(rig: Rig) -> None:
    rig.kubectl.objects.clear()
    rig.fails("--driver-namespace, or an issuer with --issuer-url and --client-id")
    assert rig.run(f"--issuer-url={rig.server.issuer}", "--client-id=own", "--web") == 0
    assert rig.kubectl.decoded()["clientID"] == "own"
    assert annotations.ISSUER not in rig.kubectl.secret()["metadata"]["annotations"]
