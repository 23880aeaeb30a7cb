import json
from typing import Any

import pytest

from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.oauth.public_issuers import parse_public_issuers, render_public_issuers
from csidriver.core.oauth.request_settings import OperatorClient, PrivateKeySettings
from csidriver.errors import InvalidSettings

LOGIN = LoginSettings("cli", ("openid",), device_flow=True, params=(("prompt", "consent"),))
PUBLIC = Issuer(
    "b",
    issuer="http://auth.example",
    token_endpoint="https://auth.example/token",
    default=True,
    internal=True,
    namespaces=("physics",),
    endpoint_hosts=("other.example",),
    login=LOGIN,
)
PRIVATE = Issuer(
    "a",
    "https://a.example",
    client_auth="private_key_jwt",
    ca_file="/the/ca",
    proxy="http://proxy",
    scope="s",
    params=(("password", "s3cret"),),
    allowed_params=("audience",),
    private_key=PrivateKeySettings("/the/key"),
    clients=(OperatorClient("app", ("physics",)),),
)
ISSUERS = Issuers({"b": PUBLIC, "a": PRIVATE})


def test_users_see_the_public_keys_sorted_by_name() -> None:
    a, b = json.loads(render_public_issuers(ISSUERS))["issuers"]
    keys = ["name", "issuer", "tokenEndpoint", "default", "internal", "endpointHosts", "namespaces"]
    assert list(a) == keys
    assert list(b) == [*keys, "login"]
    assert b["login"] == LOGIN.to_json()


def test_what_is_rendered_is_parsed() -> None:
    found = parse_public_issuers(render_public_issuers(ISSUERS)).by_name
    assert found == {"a": Issuer("a", "https://a.example"), "b": PUBLIC}


def test_keys_of_a_later_version_are_left_out() -> None:
    document = json.loads(render_public_issuers(ISSUERS))
    for entry in document["issuers"]:
        entry["later"] = entry.setdefault("login", {"clientID": "c"})["later"] = 1
    assert parse_public_issuers(json.dumps(document)).by_name["b"] == PUBLIC


@pytest.mark.parametrize("document", ["", "[" * 100_000, [], {}, {"issuers": [5]}])
def test_another_document_is_refused(document: Any) -> None:
    with pytest.raises(InvalidSettings):
        parse_public_issuers(document if isinstance(document, str) else json.dumps(document))
