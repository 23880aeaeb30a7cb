# What is stored outlives every name in this code. A fixture is never changed: a form that differs
# needs a version and a reader of its own.

import json
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from csidriver.adapters.issuer_files import IssuerFiles
from csidriver.core import annotations
from csidriver.core.admission.certificates import (
    Certificate,
    CertificateSet,
    RotationPlan,
    RotationPolicy,
    RotationStep,
)
from csidriver.core.companion import AccessToken, Companion
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import KEYS, STRICT, UNLIMITED, Issuer
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.oauth.request_settings import (
    AssertionSettings,
    OperatorClient,
    PrivateKeySettings,
    TokenExchangeSettings,
)
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.refresh.grant import Grant, Intent
from csidriver.core.refresh.source import Client, Source
from csidriver.core.refresh.source_annotations import status_annotations
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status, TokenWarning
from csidriver.core.volume.attributes import VolumeAttributes
from csidriver.core.volume.template import Template
from csidriver.errors import InvalidSecret, TokenFileFailed
from csidriver.node.token_fs import DATA_FOLDER, folder_name
from csidriver.node.volume_record import VolumeRecord
from csidriver.refresher.spool import Spool
from csidriver.webhook.certificate_secret import (
    CertificateSecret,
    KeyedCertificates,
    StoredCertificates,
)
from csidriver.webhook.x509 import CertificateFactory
from tests.kubectl_store import KubectlStore

FIXTURES = Path(__file__).with_name("fixtures")
REF = SourceRef("physics", "hello-token")


def document(text: str) -> TokenDocument:
    return TokenDocument.parse(Sensitive(text))[0]


# No two values of one kind are equal, so that no field can stand for another.
GRANT = Grant(
    ref=REF,
    source_uid="uid-of-the-source",
    source_version="4711",
    issuer="cern",
    issuer_identity="https://auth.example/realms/cern",
    client=Client("the-client", Sensitive("planted-client-secret")),
    document=document('{"access_token":"planted-at","refresh_token":"planted-rt","odd":[1.10]}'),
    generation=7,
    issued_at=1_800_000_001.25,
    expires_at=1_800_000_301.5,
    seeds=("seed-1", "seed-2"),
    spent=("spent-1", "spent-2", "spent-3"),
    intent=Intent(
        nonce="the-nonce",
        holder="the-holder",
        refresh_token_hash="the-hash",
        first_at=1_800_000_002.5,
        started_at=1_800_000_003.5,
        takeover_after=45.5,
        attempt=2,
        recorded=True,
    ),
    next_refresh=1_800_000_150.5,
    status=Status.UNCERTAIN,
    message="the message",
    warning=TokenWarning.OLD_SEED_RESTORED.value,
    failures=3,
    adopted_at=1_799_999_999.125,
    key=annotations.KEY_OAUTH_ALIAS,
    inherited=1,
    refresh_expires_at=1_800_086_400.5,
    refresh_renewed=False,
    expiry_warnings=4,
    failure_reason=FailureReason.NO_ANSWER,
    fingerprint="the-fingerprint",
    refused_scope_fingerprint="the-unscoped",
    duplicate_of="the-twin",
)
FAILING_GRANT = replace(GRANT, failing_since=1_800_000_004.75)
OWNED_GRANT = replace(FAILING_GRANT, namespace_uid="uid-of-the-namespace")
# Of a user who has asked for a refresh: others are written as before.
REQUESTED_GRANT = replace(OWNED_GRANT, refresh_requested_at=1_800_000_000.5)
CLIENT_GRANT = replace(
    REQUESTED_GRANT,
    client=Client("the-client", Sensitive(""), Sensitive("planted-client-key")),
    intent=None,
    grant_type=GrantType.CLIENT_CREDENTIALS,
    params=(("scope", "a b"), ("audience", "the-audience"), ("audience", "another")),
)
DERIVED_GRANT = replace(
    OWNED_GRANT,
    client=Client("", Sensitive("")),
    intent=None,
    status=Status.WAITS_FOR_LOGIN,
    grant_type=GrantType.TOKEN_EXCHANGE,
    login="the-login",
    login_generation=11,
)
MINIMAL_GRANT = Grant(
    ref=REF,
    source_uid="uid-of-the-source",
    source_version="",
    issuer="cern",
    issuer_identity="https://auth.example/realms/cern",
    client=Client("the-client", Sensitive("")),
    document=document('{"refresh_token":"planted-rt"}'),
    generation=1,
    issued_at=0.0,
    expires_at=0.0,
    seeds=(),
    spent=(),
    intent=None,
    next_refresh=None,
    status=Status.PENDING,
    message="",
    warning="",
    failures=0,
)
COMPANION = Companion(
    source=REF,
    source_uid="uid-of-the-source",
    generation=7,
    status=Status.READY,
    message="the message",
    next_refresh=1_800_000_150.0,
    token=AccessToken(
        value=Sensitive("planted-at"),
        token_type="Bearer",
        issued_at=1_800_000_001.0,
        expires_at=1_800_000_301.0,
        written_at=1_800_000_002.125,
    ),
)
SENT = SpoolEntry(
    nonce="the-nonce", sent_at=1_800_000_002.5, reply=None, refresh_token_hash="the-hash"
)
REPLIED = SpoolEntry(
    nonce="the-nonce",
    sent_at=1_800_000_002.5,
    reply=document('{"refresh_token":"planted-rt","odd":[1.10]}'),
    refresh_token_hash="the-hash",
)
VOLUME = VolumeRecord(
    volume_id="csi-1",
    target_path="/pods/x/mount",
    namespace="physics",
    pod_name="the-pod",
    pod_uid="uid-of-the-pod",
    attributes=VolumeAttributes(
        secret_name="hello-token",
        file_name="the-file",
        owner=1001,
        group=2002,
        mode=0o440,
        template=Template.parse("$$ $(ACCESS_TOKEN) \u20ac\n"),
        template_config_map="the-config-map",
        min_validity=30.0,
    ),
)
# Of PEM there is none here: a key would look like a real one.
AUTHORITIES = (
    Certificate("authority-1", "authority-1", 2e9, frozenset(), "planted authority 1\n"),
    Certificate("authority-2", "authority-2", 2e9, frozenset(), "planted authority 2\n"),
)
SERVING = Certificate("serving", "authority-1", 2e9, frozenset({"name"}), "planted serving\n")
KEYED = KeyedCertificates(
    CertificateSet(AUTHORITIES, SERVING),
    authority_key=Sensitive("planted authority key\n"),
    serving_key=Sensitive("planted serving key\n"),
)


class FixedCertificates(CertificateFactory):
    def issue_serving_certificate(self, *_: Any, **__: Any) -> tuple[Certificate, Sensitive]:
        return SERVING, KEYED.serving_key

    def certificates(self, text: str, *_: Any, **__: Any) -> tuple[Certificate, ...]:
        return tuple(one for one in (*AUTHORITIES, SERVING) if one.pem in text)

    def matches_key(self, key: Sensitive, certificate: Certificate) -> bool:
        wanted = KEYED.serving_key if certificate == SERVING else KEYED.authority_key
        return key == wanted


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def secret(name: str) -> Secret:
    return Secret.from_manifest(json.loads(fixture(name)))


def manifest(written: Secret) -> bytes:
    """The body of the request that creates it, in lines for people to read."""
    return (json.dumps(written.to_manifest(), indent=1) + "\n").encode()


# Of the first ones a reader knows the form, but none writes them any more.
READ_GRANTS = {"grant": GRANT, "grant-minimal": MINIMAL_GRANT, "grant-failing": FAILING_GRANT}
KEPT_GRANTS = {
    "grant-owned": OWNED_GRANT,
    "grant-requested": REQUESTED_GRANT,
    "grant-client": CLIENT_GRANT,
    "grant-derived": DERIVED_GRANT,
}


@pytest.mark.parametrize("name", READ_GRANTS | KEPT_GRANTS)
def test_a_grant_is_kept_as_ever(name: str) -> None:
    grant = (READ_GRANTS | KEPT_GRANTS)[name]
    assert grant_secret.from_secret(secret(f"{name}.json")) == grant
    if name in KEPT_GRANTS:
        written = grant_secret.to_secret(grant, "oauth2-csi")
        assert manifest(written) == fixture(f"{name}.json")


def test_a_source_is_read_as_ever() -> None:
    notes = {"oauth2.csi.cern.ch/issuer": "cern"}
    keys = {
        "oauth": '{"refresh_token":"planted-rt"}',
        "clientID": "the-client",
        "clientSecret": "planted-client-secret",
    }
    data = {key: Sensitive(text) for key, text in keys.items()}
    source = Source.parse(Secret("physics", "hello-token", annotations=notes, data=data))
    assert (source.key, source.issuer, source.client) == ("oauth", "cern", GRANT.client)
    assert source.document == MINIMAL_GRANT.document
    assert annotations.IS_TOKEN == "oauth2-refresh-controller.cern.ch/is-token"


def test_a_source_without_a_refresh_token_is_read_as_ever() -> None:
    notes = {
        "oauth2.csi.cern.ch/grant-type": "token-exchange",
        "oauth2.csi.cern.ch/login": "the-login",
        "oauth2.csi.cern.ch/scope": "a b",
        "oauth2.csi.cern.ch/audience": "c d",
        "oauth2.csi.cern.ch/resource": "https://r.example",
        "oauth2.csi.cern.ch/params": '{"e": ["f", "g"]}',
    }
    keys = {"clientID": Sensitive("the-client"), "clientKey": Sensitive("planted-client-key")}
    source = Source.parse(Secret("physics", "hello-token", annotations=notes, data=keys))
    assert source.grant_type is GrantType.TOKEN_EXCHANGE
    assert source.login == "the-login"
    assert source.client == CLIENT_GRANT.client
    assert source.params == (
        ("scope", "a b"),
        ("audience", "c"),
        ("audience", "d"),
        ("resource", "https://r.example"),
        ("e", "f"),
        ("e", "g"),
    )


def test_the_annotations_of_a_source_are_written_as_ever() -> None:
    assert status_annotations(GRANT, None, mirror_refused=True) == {
        "oauth2.csi.cern.ch/status": "Uncertain",
        "oauth2.csi.cern.ch/message": GRANT.user_message,
        "oauth2.csi.cern.ch/warning": "MirrorRefused, RefreshTokenExpiring",
        "oauth2.csi.cern.ch/expires-at": "2027-01-15T08:05:01Z",
        "oauth2.csi.cern.ch/refreshed-at": "2027-01-15T08:00:01Z",
        "oauth2.csi.cern.ch/next-refresh": "2027-01-15T08:02:30Z",
        "oauth2.csi.cern.ch/bound-issuer": "cern",
        "oauth2.csi.cern.ch/login-expires-at": "2027-01-16T08:00:00Z",
    }


def test_a_companion_is_kept_as_ever() -> None:
    assert Companion.from_secret(secret("companion.json")) == COMPANION
    read = Companion.from_secret(secret("companion-owned.json"))
    assert read == replace(COMPANION, namespace_uid="uid-of-the-namespace")
    written = Secret(
        "oauth2-csi-tokens",
        read.source.companion,
        type=annotations.COMPANION_SECRET_TYPE,
        annotations=read.annotations(),
        data=read.data(),
    )
    assert manifest(written) == fixture("companion-owned.json")


@pytest.mark.parametrize(("name", "entry"), [("spool-sent", SENT), ("spool", REPLIED)])
def test_a_spool_entry_is_kept_as_ever(tmp_path: Path, name: str, entry: SpoolEntry) -> None:
    file = tmp_path / "c278158a5736f69c40cae8ac2b13e732.json"
    file.write_bytes(fixture(f"{name}.json"))
    read = Spool(tmp_path).read(REF)
    assert read is not None
    assert read == entry
    file.unlink()
    Spool(tmp_path).write(REF, read)
    assert file.read_bytes() == fixture(f"{name}.json")


def test_a_volume_is_kept_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "volume.json"
    file.write_bytes(fixture("volume.json"))
    read = VolumeRecord.load(tmp_path)
    assert read == VOLUME
    file.unlink()
    read.save(tmp_path)
    assert file.read_bytes() == fixture("volume.json")
    assert folder_name("csi-1") == "e8e7e5f2c5c6b463a7da58ca4d836aba", "a plugin finds it again"
    assert DATA_FOLDER == "data"


def test_an_intent_or_a_volume_that_says_more_is_refused(tmp_path: Path) -> None:
    stored = secret("grant.json")
    state = json.loads(stored.data["state"].reveal())
    state["intent"]["more"] = 1
    more = replace(stored, data={**stored.data, "state": Sensitive(json.dumps(state))})
    with pytest.raises(InvalidSecret):
        grant_secret.from_secret(more)
    content = json.loads(fixture("volume.json"))
    content["volume"]["attributes"]["more"] = 1
    (tmp_path / "volume.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TokenFileFailed):
        VolumeRecord.load(tmp_path)


def test_the_webhooks_certificate_is_kept_as_ever(tmp_path: Path) -> None:
    store = KubectlStore(tmp_path)
    store.create_secret(secret("certificate.json"))
    shared_secret = CertificateSecret(store, FixedCertificates(), "oauth2-csi", RotationPolicy())
    before = shared_secret.read()
    assert before.keyed == KEYED
    name = "oauth2-csi-webhook-certificate"
    empty = dict.fromkeys(before.secret.data)
    emptied = store.patch_secret(before.secret, SecretPatch(data=empty))
    again = RotationPlan(RotationStep.RENEW_SERVING, SERVING.names, 0.0)
    shared_secret.apply(again, StoredCertificates(emptied, before.keyed), 0.0)
    written = store.get_secret("oauth2-csi", name)
    assert written is not None
    assert manifest(written) == fixture("certificate.json")


# Both are stored: the issuer as the operator writes it, its fingerprint in a grant.
ISSUERS = {
    "the-name": (
        Issuer(
            name="the-name",
            issuer="https://auth.example/issuer",
            token_endpoint="https://auth.example/token",
            default=True,
            client_auth="post",
            reuse=30.0,
            ca_file="/the/ca.crt",
            internal=True,
            namespaces=("physics", "biology"),
            min_lead=1.5,
            default_lifetime=600.0,
            rate=5.5,
            in_flight=3,
            scope="the-scope",
            proxy="http://proxy.example",
            endpoint_hosts=("host-1.example", "host-2.example"),
            introspection_endpoint="https://auth.example/introspection",
        ),
        "4dc4309606f38a8e",
    ),
    "strict": (Issuer("strict", "https://strict.example", reuse=STRICT), "96dd6e44e2c0ba33"),
    "unlimited": (
        Issuer("unlimited", "https://unlimited.example", reuse=UNLIMITED),
        "ebdcdaa47ad4e08c",
    ),
    "listed": (
        Issuer(
            "listed", "https://listed.example", access_token_issuers=("https://sts.example/t/",)
        ),
        "7231558128d22a33",
    ),
    "signing": (
        Issuer(
            "signing",
            "https://signing.example",
            client_auth="private_key_jwt",
            params=(
                ("connector_id", "kubernetes"),
                ("resource", "https://a.example"),
                ("resource", "https://b.example"),
            ),
            allowed_params=("scope", "audience"),
            private_key=PrivateKeySettings("/the/key.pem", "the-kid", "ES256"),
            assertion_audience="tokenEndpoint",
            clients=(OperatorClient("the-client", ("physics",)),),
            token_exchange=TokenExchangeSettings(True, True, "https://own.example/type"),
        ),
        "a4603f76742983b8",
    ),
    "asserting": (
        Issuer(
            "asserting",
            "https://asserting.example",
            client_auth="assertion",
            assertion=AssertionSettings("/the/token"),
        ),
        "930a2a2f2d0f03a9",
    ),
}


def test_every_key_of_an_issuer_is_read_as_ever() -> None:
    found = IssuerFiles([FIXTURES / "issuers.yaml"]).current().by_name
    assert found == {name: issuer for name, (issuer, _) in ISSUERS.items()}


def test_every_field_of_an_issuer_has_a_key_and_each_issuer_its_fingerprint_of_ever() -> None:
    assert list(KEYS) == [field.name for field in fields(Issuer)]
    for issuer, fingerprint in ISSUERS.values():
        assert issuer.fingerprint == fingerprint
        assert replace(issuer, login=LoginSettings("the-client")).fingerprint == fingerprint


def test_every_volume_attribute_is_read_as_ever() -> None:
    context = {
        "secretName": "hello-token",
        "fileName": "the-file",
        "owner": "1001",
        "group": "2002",
        "mode": "0440",
        "minValidity": "30",
    }
    shapes = (
        {"template": "$$ $(ACCESS_TOKEN) \u20ac\n"},
        {"templateConfigMapName": "the-config-map"},
    )
    written, named = (VolumeAttributes.parse(context | shape, "") for shape in shapes)
    whole = replace(written, template_config_map=named.template_config_map)
    assert whole == VOLUME.attributes


WORDS: dict[type[Enum], str] = {
    Status: """
        Pending Ready Uncertain IssuerUnavailable WaitsForLogin NeedsReauth LostRotation
        DuplicateGrant ClientRejected Misconfigured Invalid
    """,
    GrantType: "refresh_token client_credentials token-exchange",
    TokenWarning: """
        RefreshTokenExpiring OldSeedRestored TrailingBytes DefaultLifetime MirrorRefused
        InvalidRefreshRequest
    """,
    FailureReason: """
        unreachable tls throttled no_answer server_error bad_reply redirect invalid_grant
        login_required invalid_client client_not_allowed invalid_scope invalid_request
        unsupported_proof forbidden no_endpoint no_oauth_error unknown_error token_type metadata
        bound_token no_assertion client_key
    """,
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_word_of_the_driver_is_spelled_as_ever(kind: type[Enum]) -> None:
    assert [word.value for word in kind] == WORDS[kind].split()
