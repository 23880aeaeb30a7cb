import json
from typing import Any

import pytest

from csidriver.core import annotations as core_annotations
from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.source import (
    MAX_FIELDS,
    MAX_REFRESH_TOKEN,
    Client,
    Source,
    is_mirrorable,
    is_source,
)
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSecret

VALID = {
    "oauth": '{"access_token": "at-secret", "refresh_token": "rt-secret"}',
    "clientID": "my-app",
    "clientSecret": "cs-secret",
}


def secret(change: dict[str, str | None] | None = None, issuer: str = "") -> Secret:
    texts = VALID | (change or {})
    data = {key: Sensitive(text) for key, text in texts.items() if text is not None}
    annotations = {core_annotations.IS_TOKEN: "true", core_annotations.ISSUER: issuer}
    return Secret("physics", "hello-token", uid="u", annotations=annotations, data=data)


def problems(change: dict[str, str | None]) -> tuple[str, ...]:
    with pytest.raises(InvalidSecret) as caught:
        Source.parse(secret(change))
    assert "secret" not in str(caught.value).replace("Secret physics/hello-token", "")
    return caught.value.problems


def test_a_source_is_read() -> None:
    source = Source.parse(secret(issuer="cern"))
    assert source.ref == SourceRef("physics", "hello-token")
    assert source.uid == "u"
    assert source.document.refresh_token == Sensitive("rt-secret")
    assert source.document.access_token == Sensitive("at-secret")
    assert source.client == Client("my-app", Sensitive("cs-secret"))
    assert (source.key, source.issuer, source.trailing) == ("oauth", "cern", False)
    assert "-secret" not in repr(source)


def test_a_private_key_is_part_of_the_client() -> None:
    client = Source.parse(secret({"clientKey": " key-secret\n"})).client
    assert client == Client("my-app", Sensitive("cs-secret"), Sensitive("key-secret"))
    assert "key-secret" not in repr(client)
    assert problems({"clientKey": "x" * 5000}) == ("key clientKey is larger than 4 KiB",)


def test_the_announcements_example_works_with_a_note() -> None:
    assert Source.parse(secret({"oauth": VALID["oauth"] + "\n}\n"})).trailing


def test_the_alias_counts_where_oauth_is_absent() -> None:
    assert Source.parse(secret({"oauth": None, "oauth2": VALID["oauth"]})).key == "oauth2"
    assert Source.parse(secret({"oauth2": "{"})).key == "oauth"


def test_byte_order_marks_and_white_space_are_not_part_of_a_value() -> None:
    """`echo secret | base64` ends in a newline."""
    marked = {key: f"\ufeff {text}\n" for key, text in VALID.items()}
    source = Source.parse(secret({**marked, "clientID": "\ufeff my-app\r\n"}))
    assert source.client == Client("my-app", Sensitive("cs-secret"))
    assert source.document.refresh_token == Sensitive("rt-secret")
    assert not source.trailing
    assert problems({"clientID": "\ufeff"}) == ("key clientID is missing or empty",)


def oauth(**change: Any) -> dict[str, str | None]:
    document = json.loads(VALID["oauth"]) | change
    return {"oauth": json.dumps(document)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"oauth": None}, "key oauth is missing", id="no document"),
        pytest.param({"clientID": None, "clientId": ""}, "what 'clientId' means?", id="client key"),
        pytest.param({"oauth": '{"refresh_token": rt-secret}'}, "is not JSON", id="no json"),
        pytest.param({"oauth": "{}"}, "; run: kubectl oauth2-csi login ", id="no refresh token"),
        pytest.param(oauth(refresh_token="\ud800"), "not UTF-8 text", id="token not to be sent"),
        pytest.param(oauth(access_token=5), "access_token must be a text", id="number"),
        pytest.param({"clientID": None}, "clientID is missing", id="no client"),
        pytest.param({"clientID": "x" * 4097}, "clientID is larger than 4 KiB", id="large id"),
    ],
)
def test_one_fault_is_one_problem(change: dict[str, str | None], says: str) -> None:
    (problem,) = problems(change)
    assert says in problem


@pytest.mark.parametrize("other", ["token.json", "oauth" * 6, "a" * 200])
def test_a_missing_key_is_not_taken_for_one_of_another_name(other: str) -> None:
    (problem,) = problems({"oauth": None, other: VALID["oauth"]})
    assert problem == "key oauth is missing, or not UTF-8 text"
    (problem,) = problems({"clientID": None})
    assert problem == "key clientID is missing or empty"


def test_only_the_annotation_makes_a_source() -> None:
    assert is_source(secret())
    for notes in ({}, {core_annotations.IS_TOKEN: "True"}):
        assert not is_source(Secret("ns", "n", annotations=notes))


def document_of(**fields: str) -> TokenDocument:
    return TokenDocument({name: Sensitive(json.dumps(text)) for name, text in fields.items()})


MANY_FIELDS = {f"f{number}": "" for number in range(MAX_FIELDS)}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param(MANY_FIELDS | {"g": ""}, "more than 64 fields", id="fields"),
        pytest.param({"refresh_token": "x" * (MAX_REFRESH_TOKEN + 1)}, "16 KiB", id="refresh"),
        pytest.param({"token_type": "x" * 65}, "64 letters", id="long type"),
    ],
)
def test_what_a_source_may_not_have_is_not_mirrored(fields: dict[str, str], says: str) -> None:
    document = document_of(**{"refresh_token": "rt-1"} | fields)
    assert not is_mirrorable(document)
    (problem,) = problems({"oauth": document.to_json().reveal()})
    assert says in problem


def test_what_a_source_may_have_is_mirrored() -> None:
    largest = {"refresh_token": "x" * MAX_REFRESH_TOKEN, "token_type": "A-z0._" * 10 + "four"}
    for document in (document_of(**MANY_FIELDS), document_of(**largest), document_of()):
        assert is_mirrorable(document)
    frame = len(document_of(a="").to_json().reveal())
    assert is_mirrorable(document_of(a="x" * (MAX_DOCUMENT - frame)))
    assert not is_mirrorable(document_of(a="x" * (MAX_DOCUMENT - frame + 1)))
