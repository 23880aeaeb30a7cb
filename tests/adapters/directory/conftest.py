"""A store in an empty folder, and files written by hand into it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, poll=0.005)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def put(content: str | bytes, file: str = "secret.x.yaml", namespace: str = "ns") -> Path:
        path = tmp_path / namespace / file
        path.parent.mkdir(exist_ok=True)
        # At once, because a watch that finds half a file for long counts it as changed.
        draft = path.with_name(".draft")
        draft.write_bytes(content if isinstance(content, bytes) else content.encode())
        return draft.rename(path)

    return put
