from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.directory.object_key import ObjectKey
from tests.adapters.directory.handwritten import HEAD, NEEDLE


def test_a_broken_file_is_warned_about_once_per_content(
    store: DirectoryStore, put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("[", "[", "[["):
        put(content)
        assert store.get_secret("ns", "x") is None
    assert len(caplog.records) == 2


def test_nothing_shows_content_when_it_is_shown(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    put(HEAD + f"stringData: {{oauth: {NEEDLE}}}\n")
    stored = store._manifests.load(ObjectKey.of("ns", "Secret", "x"))
    assert stored is not None
    assert NEEDLE not in repr(stored) + str(stored) + repr(stored.secret)
