import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.annotations import DATA_LIMITS, LIMITS, MAX_DOCUMENT
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import FIELD_MANAGER
from csidriver.core.sensitive import Sensitive

MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "Opaque",
    "metadata": {
        "namespace": "physics",
        "name": "hello-token",
        "uid": "u1",
        "resourceVersion": "42",
        "annotations": {
            "oauth2-refresh-controller.cern.ch/is-token": "true",
            "oauth2.csi.cern.ch/status": "Ready",
            "kubectl.kubernetes.io/last-applied-configuration": '{"stringData":{"oauth":"RT"}}',
            "oauth2.csi.cern.ch.evil/x": "no",
        },
    },
    "data": {"oauth": base64.b64encode(b'{"a": "\xc3\xa9"}').decode()},
}


def of(**change: Any) -> Secret:
    return Secret.from_manifest(MANIFEST | change)


def texts(secret: Secret) -> dict[str, str]:
    return {key: value.reveal() for key, value in secret.data.items()}


def test_a_manifest_is_decoded() -> None:
    secret = of()
    assert (secret.namespace, secret.name, secret.uid) == ("physics", "hello-token", "u1")
    assert secret.resource_version == "42"
    assert secret.type == "Opaque"
    assert texts(secret) == {"oauth": '{"a": "é"}'}


def test_only_our_annotations_survive() -> None:
    """kubectl's last-applied-configuration is a copy of the user's refresh token."""
    assert set(of().annotations) == {
        "oauth2-refresh-controller.cern.ch/is-token",
        "oauth2.csi.cern.ch/status",
    }
    assert "RT" not in repr(of())


def test_string_data_overrides_data() -> None:
    secret = of(stringData={"oauth": "{}", "clientID": 5, "clientSecret": None})
    assert texts(secret) == {"oauth": "{}", "clientID": "5", "clientSecret": ""}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *(("YQ==", "a"), ("", ""), (None, ""), ("YWFh\nYWFh\r\n", "aaaaaa")),
        *((value, None) for value in ("YQ", "not base64!", "/w==", "é")),
        (5, None),
    ],
)
def test_data_is_base64_of_text_or_absent(value: Any, wanted: str | None) -> None:
    assert texts(of(data={"oauth": value})) == ({} if wanted is None else {"oauth": wanted})


def managed(*entries: tuple[str, str]) -> dict[str, Any]:
    """Metadata with these managers and the times of their writes."""
    fields = [{"manager": manager, "time": time} for manager, time in entries]
    return {**MANIFEST["metadata"], "managedFields": [*fields, {"manager": "old"}]}


def test_the_manager_is_that_of_the_newest_write() -> None:
    entries = [("kubectl", "2026-11-23T18:00:00Z"), ("argocd", "2026-11-23T19:00:00Z")]
    assert of(metadata=managed(*entries)).manager == "argocd"
    assert of().manager == ""


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_writes_in_one_second_the_stranger_s_is_the_newest(order: int) -> None:
    """Else a user's edit next to one of ours would pass for ours, and never be looked at."""
    entries = [(FIELD_MANAGER, "2026-11-23T18:00:00Z"), ("kubectl", "2026-11-23T18:00:00Z")]
    assert of(metadata=managed(*entries[::order])).manager == "kubectl"


NINE = datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp()


OURS = (FIELD_MANAGER, "2026-11-23T08:59:30Z")


@pytest.mark.parametrize(
    ("entries", "now", "age"),
    [
        pytest.param(
            [("kubectl", "2026-11-23T08:59:59Z"), OURS, (FIELD_MANAGER, "2026-11-23T08:00:00Z")],
            NINE,
            30.0,
            id="among others",
        ),
        pytest.param([(FIELD_MANAGER, "2026-11-23T09:00:01Z")], NINE, 0.0, id="from the future"),
    ],
)
def test_the_age_is_that_of_our_newest_write(
    entries: list[tuple[str, str]], now: float | None, age: float | None
) -> None:
    manifest = MANIFEST | {"metadata": managed(*entries)}
    assert Secret.from_manifest(manifest, now).age == age


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_of_other_keys_only_some_names_are_kept() -> None:
    large = {f"key-{number:02}": encoded(b"x" * 100) for number in range(100)}
    secret = of(data=large | {"oauth": encoded(b"{}")}, stringData={"a": "plain"})
    kept = ["a", *(f"key-{number:02}" for number in range(15))]
    assert texts(secret) == {**dict.fromkeys(kept, ""), "oauth": "{}"}


@pytest.mark.parametrize("character", ["é", "\U0001f600"])
@pytest.mark.parametrize("shift", range(4))
def test_a_value_that_is_too_long_is_cut_but_not_so_far_that_it_fits(
    character: str, shift: int
) -> None:
    text = "x" * shift + character * MAX_DOCUMENT * 2
    for secret in (of(data={"oauth": encoded(text.encode())}), of(stringData={"oauth": text})):
        assert MAX_DOCUMENT < secret.data["oauth"].size < MAX_DOCUMENT * 5
        assert text.startswith(secret.data["oauth"].reveal())


def test_annotations_type_and_manager_are_cut() -> None:
    annotations = dict.fromkeys(LIMITS, "x" * 300000)
    entries = [{"manager": "m" * 1000, "time": "2026-11-23T18:00:00Z"}]
    metadata = {"annotations": annotations, "managedFields": entries}
    secret = Secret.from_manifest({"metadata": metadata, "type": "t" * 300_000})
    assert {key: len(value) for key, value in secret.annotations.items()} == LIMITS
    assert (len(secret.type), len(secret.manager)) == (256, 256)


@given(st.dictionaries(st.sampled_from(list(DATA_LIMITS)), st.text(st.characters(codec="utf-8"))))
def test_data_survives_the_round_trip(data: dict[str, str]) -> None:
    secret = Secret("ns", "n", data={k: Sensitive(v) for k, v in data.items()})
    assert Secret.from_manifest(secret.to_manifest()) == secret


def test_a_patch_names_the_version_it_was_computed_from_and_what_changes() -> None:
    patch = SecretPatch(annotations={"a": "1", "b": None}, data={"k": Sensitive("v"), "gone": None})
    assert patch.to_merge_patch("7") == {
        "metadata": {"resourceVersion": "7", "annotations": {"a": "1", "b": None}},
        "data": {"k": "dg==", "gone": None},
    }
    assert SecretPatch().to_merge_patch("7") == {"metadata": {"resourceVersion": "7"}}
