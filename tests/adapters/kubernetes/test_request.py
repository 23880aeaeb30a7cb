import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.errors import StoreRefused
from tests.adapters.kubernetes.scripted import Scripted


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_that_cannot_be_are_not_asked_for(
    api: Scripted, store: KubernetesStore, name: str
) -> None:
    with pytest.raises(StoreRefused):
        store.get_secret("alice", name)
    with pytest.raises(StoreRefused):
        store.get_secret(name, "token")
    assert api.asked == []
