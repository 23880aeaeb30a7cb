import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.secret import Secret
from tests.adapters.directory.handwritten import HEAD, NEEDLE, WAIT


def test_a_broken_file_is_warned_about_once_per_content(
    store: DirectoryStore, put: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("[", "[", "[["):
        put(content)
        assert store.get_secret("ns", "x") is None
    assert len(caplog.records) == 2


def test_the_age_is_that_of_the_file_if_we_wrote_it(tmp_path: Path, store: DirectoryStore) -> None:
    store.create_secret(Secret("ns", "x"))
    then = time.time() - 1000
    os.utime(tmp_path / "ns" / "secret.x.yaml", (then, then))
    secret = store.get_secret("ns", "x")
    assert secret is not None
    assert secret.age is not None
    assert 1000 <= secret.age < 1000 + WAIT


def test_nothing_shows_content_when_it_is_shown(
    store: DirectoryStore, put: Callable[..., Path]
) -> None:
    put(HEAD + f"stringData: {{oauth: {NEEDLE}}}\n")
    stored = store._manifests.load(ObjectKey.of("ns", "Secret", "x"))
    assert stored is not None
    assert NEEDLE not in repr(stored) + str(stored) + repr(stored.secret)
