import base64
import json
from typing import Any

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.existing_secret import ExistingSecret
from tests.kubectl.login.fake_cluster import source


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.s"


def test_a_source_is_read_without_its_tokens() -> None:
    document = json.dumps({"refresh_token": "planted", "access_token": jwt(iss="https://as/")})
    manifest = source(
        notes={annotations.ISSUER: "as", annotations.BOUND_ISSUER: "lab"},
        data={"oauth": document, "clientID": "cli\n", "clientSecret": " s3cret\n"},
    )
    found, ref = ExistingSecret.parse(manifest), SourceRef("physics", "hello")
    client = ("cli", Sensitive("s3cret"))
    assert found == ExistingSecret(ref, "uid-1", "oauth", *client, "as", "lab", "https://as", "1")
    assert "planted" not in repr(found) + repr(found.client_secret)


@pytest.mark.parametrize(
    ("data", "key"), [({"oauth2": "{}"}, "oauth2"), ({"oauth": "no JSON"}, "oauth")]
)
def test_the_document_has_the_key_that_the_refresher_reads(data: dict[str, str], key: str) -> None:
    found = ExistingSecret.parse(source(data=data))
    assert (found.key, found.iss, found.client_id) == (key, "", "")


def test_a_secret_that_is_no_token_is_refused_with_the_command() -> None:
    with pytest.raises(LoginFailed) as failure:
        ExistingSecret.parse(source(notes={annotations.IS_TOKEN: "True"}))
    command = "kubectl annotate secret hello -n physics oauth2-refresh-controller.cern.ch/is-token"
    assert f"{command}=true --overwrite" in str(failure.value)


def test_a_secret_that_needs_no_login_is_refused_with_the_command_that_says_more() -> None:
    assert ExistingSecret.parse(source(notes={annotations.GRANT_TYPE: "refresh_token"})).key
    with pytest.raises(LoginFailed) as failure:
        ExistingSecret.parse(source(notes={annotations.GRANT_TYPE: "a word"}))
    assert str(failure.value) == (
        "Secret physics/hello needs no login: its oauth2.csi.cern.ch/grant-type is 'a word'; "
        "run: kubectl oauth2-csi describe hello -n physics"
    )


def test_a_secret_that_cannot_be_changed_is_refused() -> None:
    with pytest.raises(LoginFailed, match=r"immutable.*: kubectl delete secret hello -n physics"):
        ExistingSecret.parse(source() | {"immutable": True})
    manifest = source()
    manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(LoginFailed, match="is being deleted"):
        ExistingSecret.parse(manifest)
