import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import KubectlFailed, LoginFailed
from csidriver.kubectl.login.secret_writer import (
    SecretContent,
    check_new,
    find_secret,
    new_manifest,
    store,
)
from tests.kubectl.login.fake_cluster import FakeKubectl, encode, source

REF = SourceRef("physics", "hello")
DOCUMENT, _ = TokenDocument.parse(Sensitive('{"refresh_token": "rt-1", "scope": "a"}'))
CONTENT = SecretContent(
    Issuer("lab", issuer="https://lab.example"), Client("cli", Sensitive("")), DOCUMENT
)


def stored(existing: dict[str, Any] | None, content: SecretContent = CONTENT) -> FakeKubectl:
    kubectl = FakeKubectl()
    if existing is not None:
        kubectl.put(existing)
    store(kubectl, REF, find_secret(kubectl, REF), content)
    return kubectl


def test_a_new_secret_is_a_source() -> None:
    kubectl = stored(None)
    found = Source.parse(Secret.from_manifest(kubectl.secret()))
    assert found.document.refresh_token == Sensitive("rt-1")
    assert found.client == CONTENT.client
    assert found.issuer == "lab"
    assert "clientSecret" not in kubectl.secret()["data"]
    assert [verb for verb, _ in kubectl.writes] == ["create"]
    own = Issuer("", issuer="https://own.example"), Client("app", Sensitive("s3cret"))
    found = Source.parse(Secret.from_manifest(new_manifest(REF, SecretContent(*own, DOCUMENT))))
    assert (found.client, found.issuer) == (own[1], "")


@pytest.mark.parametrize("key", ["oauth", "oauth2"])
def test_an_existing_secret_gets_the_document_and_nothing_else(key: str) -> None:
    data = {key: '{"refresh_token": "rt-0"}', "clientID": " cli", "extra": "kept"}
    existing = source(data=data, notes={annotations.ISSUER: "lab", "note": "kept"})
    kubectl = stored(existing)
    assert kubectl.decoded() == {**data, key: DOCUMENT.to_json().reveal()}
    assert kubectl.secret()["metadata"] == existing["metadata"]
    assert [verb for verb, _ in kubectl.writes] == ["patch"]


def test_what_the_secret_lacked_or_had_wrong_is_written() -> None:
    # The refresher would choose another issuer than one that is not the default.
    for default in (True, False):
        issuer = replace(CONTENT.issuer, default=default)
        content = SecretContent(issuer, Client("cli", Sensitive("new")), DOCUMENT)
        kubectl = stored(source(data={"clientSecret": "old"}), content)
        assert kubectl.decoded().items() >= {"clientID": "cli", "clientSecret": "new"}.items()
        notes = kubectl.secret()["metadata"]["annotations"]
        assert (annotations.ISSUER in notes) is not default


@pytest.mark.parametrize("verb", ["get secrets hello", "create secrets", "patch secrets hello"])
def test_a_missing_right_is_named_with_a_command(verb: str) -> None:
    kubectl = FakeKubectl()
    kubectl.refused = {verb.partition(" ")[0]}
    if "patch" in verb:
        kubectl.put(source())
    text = f"you may not {verb} in namespace physics; .*: kubectl create rolebinding"
    with pytest.raises(LoginFailed, match=text):
        find_secret(kubectl, REF)


def test_the_cluster_checks_a_new_secret_without_tokens() -> None:
    kubectl = FakeKubectl()
    check_new(kubectl, REF, CONTENT.issuer, "cli")
    [manifest] = kubectl.tried
    assert base64.b64decode(manifest["data"]["oauth"]) == b"{}"
    assert manifest["metadata"]["annotations"] == {
        annotations.IS_TOKEN: "true",
        annotations.ISSUER: "lab",
    }
    assert kubectl.writes == []
    kubectl.policy = 'admission webhook "x" does not support dry run'
    check_new(kubectl, REF, CONTENT.issuer, "cli")


def test_a_secret_that_appeared_meanwhile_stays_as_it_is() -> None:
    kubectl = FakeKubectl()
    existing = find_secret(kubectl, REF)
    kubectl.put(source())
    with pytest.raises(LoginFailed, match="somebody else has created Secret physics/hello"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.secret() == source()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["metadata"].update(uid="uid-2"),
        lambda found: found["data"].update(clientID=encode("other")),
        lambda found: found["metadata"]["annotations"].clear(),
    ],
    ids=["replaced", "of another client", "no token any more"],
)
def test_a_secret_that_was_changed_meanwhile_stays_as_it_is(
    change: Callable[[dict[str, Any]], None],
) -> None:
    kubectl = FakeKubectl()
    kubectl.put(source())
    existing = find_secret(kubectl, REF)
    change(kubectl.secret())
    with pytest.raises(LoginFailed, match=r"deleted or changed Secret physics/hello|is no token"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.writes == []
    kubectl.objects.clear()
    with pytest.raises(LoginFailed, match=r"has deleted or changed"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.objects == {}


def test_a_write_of_the_refresher_meanwhile_is_no_obstacle() -> None:
    kubectl = FakeKubectl()
    kubectl.put(source())
    messages = ["one", "two"]

    def refresh() -> None:
        if messages:
            kubectl.annotate(message=messages.pop())

    kubectl.before_patch = refresh
    store(kubectl, REF, find_secret(kubectl, REF), CONTENT)
    assert len(kubectl.writes) == 3
    assert kubectl.decoded()["oauth"] == DOCUMENT.to_json().reveal()


class Failing(FakeKubectl):
    """Fails to write, before or after the change arrives."""

    arrives = False

    def create(self, *_: Any) -> None:
        raise KubectlFailed("it broke")

    def patch(self, *arguments: Any, **options: Any) -> None:
        if self.arrives:
            super().patch(*arguments, **options)
        raise KubectlFailed("it broke")


def test_a_change_that_fails_says_how_the_secret_is_and_what_to_do() -> None:
    kubectl = Failing()
    with pytest.raises(LoginFailed, match="it broke; there is still no such Secret; when"):
        store(kubectl, REF, None, CONTENT)
    kubectl.put(source())
    existing = find_secret(kubectl, REF)
    end = "; when the cause is mended, run the command again"
    with pytest.raises(LoginFailed, match=f"not written: it broke; it is unchanged{end}"):
        store(kubectl, REF, existing, CONTENT)
    kubectl.arrives = True
    store(kubectl, REF, existing, CONTENT)
    assert kubectl.decoded()["oauth"] == DOCUMENT.to_json().reveal()
