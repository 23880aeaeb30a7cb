import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import Client, Source
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import Forbidden, KubectlFailed, LoginFailed
from csidriver.kubectl.login.secret_writer import (
    SecretContent,
    check_new,
    find_secret,
    new_manifest,
    store,
)
from csidriver.kubectl.output.documents import to_yaml
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


def test_a_confidential_client_has_its_secret_there() -> None:
    content = replace(CONTENT, client=Client("app", Sensitive("s3cret")))
    assert stored(None, content).decoded()["clientSecret"] == "s3cret"


def test_an_issuer_that_is_not_published_has_no_name() -> None:
    content = replace(CONTENT, issuer=Issuer("", issuer="https://own.example"))
    assert annotations.ISSUER not in stored(None, content).secret()["metadata"]["annotations"]


@pytest.mark.parametrize("key", ["oauth", "oauth2"])
def test_an_existing_secret_gets_the_document_and_nothing_else(key: str) -> None:
    data = {key: '{"refresh_token": "rt-0"}', "clientID": " cli", "extra": "kept"}
    existing = source(data=data, notes={annotations.ISSUER: "lab", "note": "kept"})
    kubectl = stored(existing)
    assert kubectl.decoded() == {**data, key: DOCUMENT.to_json().reveal()}
    assert kubectl.secret()["metadata"] == existing["metadata"]
    assert [verb for verb, _ in kubectl.writes] == ["patch"]


@pytest.mark.parametrize(("default", "named"), [(True, False), (False, True)])
def test_an_issuer_is_named_where_the_refresher_would_choose_another(
    default: bool,  # noqa: FBT001
    named: bool,  # noqa: FBT001
) -> None:
    content = replace(CONTENT, issuer=replace(CONTENT.issuer, default=default))
    notes = stored(source(), content).secret()["metadata"]["annotations"]
    assert (annotations.ISSUER in notes) is named


def test_what_the_secret_lacked_or_had_wrong_is_written() -> None:
    content = replace(CONTENT, client=Client("cli", Sensitive("new")))
    found = stored(source(data={"clientSecret": "old"}), content).decoded()
    assert found["clientID"] == "cli"
    assert found["clientSecret"] == "new"


@pytest.mark.parametrize(
    ("refused", "existing", "text"),
    [
        ("get", None, "you may not get secrets hello in namespace physics"),
        ("create", None, "you may not create secrets in namespace physics"),
        ("patch", source(), "you may not patch secrets hello in namespace physics"),
    ],
)
def test_a_missing_right_is_named_with_a_command(
    refused: str, existing: dict[str, Any] | None, text: str
) -> None:
    kubectl = FakeKubectl()
    kubectl.refused = {refused}
    if existing:
        kubectl.put(existing)
    with pytest.raises(LoginFailed, match=text) as failure:
        find_secret(kubectl, REF)
    assert "kubectl create rolebinding" in str(failure.value)


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


def test_a_cluster_that_would_refuse_the_secret_is_told() -> None:
    kubectl = FakeKubectl()
    kubectl.policy = "exceeded quota"
    with pytest.raises(LoginFailed, match="would not take Secret physics/hello: exceeded quota"):
        check_new(kubectl, REF, CONTENT.issuer, "cli")
    kubectl.policy = 'admission webhook "x" does not support dry run'
    check_new(kubectl, REF, CONTENT.issuer, "cli")


def test_a_secret_that_appeared_meanwhile_stays_as_it_is() -> None:
    kubectl = FakeKubectl()
    existing = find_secret(kubectl, REF)
    kubectl.put(source())
    with pytest.raises(LoginFailed, match="somebody else has created Secret physics/hello"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.secret() == source()


def test_a_secret_that_was_replaced_meanwhile_stays_as_it_is() -> None:
    kubectl = FakeKubectl()
    kubectl.put(source())
    existing = find_secret(kubectl, REF)
    kubectl.secret()["metadata"]["uid"] = "uid-2"
    with pytest.raises(LoginFailed, match="has deleted or changed Secret physics/hello"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.decoded()["oauth"] == '{"refresh_token": "rt-0"}'
    kubectl.objects.clear()
    with pytest.raises(LoginFailed, match="has deleted or changed"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.objects == {}


def test_a_secret_that_was_given_to_another_client_meanwhile_stays_as_it_is() -> None:
    kubectl = FakeKubectl()
    kubectl.put(source())
    existing = find_secret(kubectl, REF)
    kubectl.secret()["data"]["clientID"] = encode("other")
    with pytest.raises(LoginFailed, match="has deleted or changed Secret physics/hello"):
        store(kubectl, REF, existing, CONTENT)
    kubectl.put(source(notes={annotations.IS_TOKEN: None}))
    with pytest.raises(LoginFailed, match="is no token"):
        store(kubectl, REF, existing, CONTENT)
    assert kubectl.writes == []


def test_a_write_of_the_refresher_meanwhile_is_no_obstacle() -> None:
    kubectl = FakeKubectl()
    kubectl.put(source())
    writes = iter(range(2))

    def refresh() -> None:
        for count in writes:
            kubectl.annotate(status="Ready", message=str(count))
            return

    kubectl.before_patch = refresh
    store(kubectl, REF, find_secret(kubectl, REF), CONTENT)
    assert len(kubectl.writes) == 3
    assert kubectl.decoded()["oauth"] == DOCUMENT.to_json().reveal()


def test_another_refusal_of_the_cluster_is_told() -> None:
    class Refusing(FakeKubectl):
        def create(self, _: Any) -> None:
            raise Forbidden("exceeded quota")

    with pytest.raises(LoginFailed, match=r"login succeeded, but Secret .* not written: exceeded"):
        store(Refusing(), REF, None, CONTENT)


class Failing(FakeKubectl):
    """Fails to patch, before or after the change arrives."""

    arrives = False

    def patch(self, *arguments: Any, **options: Any) -> None:
        if self.arrives:
            super().patch(*arguments, **options)
        raise KubectlFailed("open /dev/stdin: no such file or directory")


def test_a_change_that_fails_leaves_the_secret_and_says_what_to_do() -> None:
    kubectl = Failing()
    kubectl.put(source())
    with pytest.raises(LoginFailed) as failure:
        store(kubectl, REF, find_secret(kubectl, REF), CONTENT)
    assert kubectl.secret() == source()
    assert str(failure.value).endswith(
        "not written: open /dev/stdin: no such file or directory; it is unchanged; when the cause "
        "is mended, run the command again"
    )


def test_a_change_that_cannot_be_looked_at_again_may_be_there() -> None:
    class Lost(Failing):
        def patch(self, *arguments: Any, **options: Any) -> None:
            self.lost = True
            super().patch(*arguments, **options)

        def get(self, *arguments: str) -> Any:
            if hasattr(self, "lost"):
                raise KubectlFailed("no route to host")
            return super().get(*arguments)

    kubectl = Lost()
    kubectl.put(source())
    with pytest.raises(LoginFailed, match="it cannot be read now, so it may be unchanged or have"):
        store(kubectl, REF, find_secret(kubectl, REF), CONTENT)


def test_a_change_whose_reply_was_lost_is_no_failure() -> None:
    kubectl = Failing()
    kubectl.arrives = True
    kubectl.put(source())
    store(kubectl, REF, find_secret(kubectl, REF), CONTENT)
    assert kubectl.decoded()["oauth"] == DOCUMENT.to_json().reveal()


def test_the_yaml_is_the_manifest() -> None:
    manifest = new_manifest(REF, replace(CONTENT, client=Client("a: b", Sensitive("s"))))
    assert yaml.safe_load(to_yaml(manifest)) == json.loads(json.dumps(manifest))
