import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.directory.manifest import InvalidManifest, decode, encode
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.secret import Secret
from csidriver.errors import StoreRefused
from tests.adapters.directory.handwritten import HEAD, NEEDLE, listing


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{NEEDLE}: [", id="not YAML"),
        pytest.param(b"\xff\xfe\xff" + NEEDLE.encode(), id="not text"),
        pytest.param(NEEDLE, id="scalar"),
        pytest.param(f"- {NEEDLE}", id="list"),
        pytest.param(HEAD + "x: 9" + "9" * 5000, id="number without end"),
        pytest.param(HEAD + "---\n" + HEAD, id="two objects"),
        pytest.param(HEAD.replace("Secret", "ConfigMap"), id="other kind"),
        pytest.param(HEAD.replace("x", "y"), id="other name"),
        pytest.param("kind: Secret\nmetadata: {name: x, namespace: other}\n", id="other namespace"),
        pytest.param(f"kind: Secret\nmetadata: {NEEDLE}\n", id="metadata is a text"),
        pytest.param("kind: Secret\nmetadata: {name: x, annotations: [a]}\n", id="annotations"),
        pytest.param("kind: Secret\nmetadata: {name: x, annotations: {a: 1}}\n", id="annotation"),
        pytest.param(HEAD + f"data: [{NEEDLE}]\n", id="data is a list"),
        pytest.param(HEAD + f"data: {{oauth: [{NEEDLE}]}}\n", id="value is a list"),
        pytest.param(HEAD + "stringData: {oauth: 1}\n", id="value is a number"),
        pytest.param(HEAD + "#" * (4 << 20), id="too large"),
    ],
)
def test_a_file_that_is_not_fit_counts_as_absent(
    store: DirectoryStore,
    put: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    content: str | bytes,
) -> None:
    put(content)
    put(HEAD.replace("x", "good"), "secret.good.yaml")
    with caplog.at_level(logging.DEBUG):
        assert store.get_secret("ns", "x") is None
        assert listing(store) == ["good"]
        store.delete_secret(Secret("ns", "x"))
        with pytest.raises(StoreRefused) as refused:
            store.create_secret(Secret("ns", "x"))
    (record,) = caplog.records
    assert "ns/secret.x.yaml" in record.getMessage()
    assert NEEDLE not in caplog.text + repr(refused.value)
    store.apply({"kind": "Secret", "metadata": {"name": "x"}}, "ns")
    assert listing(store) == ["good", "x"]


def test_a_manifest_that_is_too_large_is_refused(store: DirectoryStore) -> None:
    large = {"oauth": "a" * (4 << 20)}
    with pytest.raises(StoreRefused):
        store.apply({"kind": "Secret", "metadata": {"name": "x"}, "data": large}, "ns")
    assert listing(store) == []


TEXTS = st.text(st.characters(codec="utf-8"))
KEY = ObjectKey.of("ns", "Secret", "x")


@given(st.dictionaries(TEXTS, TEXTS), st.dictionaries(TEXTS, TEXTS))
def test_every_text_is_read_back_as_it_was_written(
    annotations: dict[str, str], data: dict[str, str]
) -> None:
    metadata = {"name": "x", "namespace": "ns", "annotations": annotations}
    manifest = {"kind": "Secret", "metadata": metadata, "data": data}
    assert decode(encode(manifest, KEY), KEY) == manifest


@given(st.text("ab:[]{}&*!|>'\"\n -0123<=?%@\\.\t_~,#e") | st.binary())
def test_no_content_raises_anything_else(content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    for start in (b"", HEAD.encode()):
        try:
            decode(start + raw, KEY)
        except InvalidManifest as error:
            assert error.__cause__ is None  # noqa: PT017 - either outcome is right
