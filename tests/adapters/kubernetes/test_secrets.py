from csidriver.adapters.kubernetes import KubernetesStore
from tests.adapters.kubernetes.requests import BASE
from tests.adapters.kubernetes.scripted import Scripted


def test_a_delete_names_what_it_means(api: Scripted, store: KubernetesStore) -> None:
    store.delete_secret(BASE)
    assert api.asked[0].body == {"preconditions": {"resourceVersion": "7", "uid": "u1"}}
