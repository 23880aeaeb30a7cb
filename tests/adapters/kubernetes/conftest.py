from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    from_kubeconfig,
)
from tests.adapters.kubernetes.requests import QUICK, config
from tests.adapters.kubernetes.scripted import Scripted
from tests.adapters.kubernetes.watching import FakeCollections


@pytest.fixture
def api() -> Iterator[Scripted]:
    with Scripted() as running:
        yield running


@pytest.fixture
def client(api: Scripted, tmp_path: Path) -> KubernetesClient:
    return KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK)


@pytest.fixture
def store(client: KubernetesClient) -> KubernetesStore:
    return KubernetesStore(client)


@pytest.fixture
def fake_collections(api: Scripted) -> FakeCollections:
    return FakeCollections(api)
