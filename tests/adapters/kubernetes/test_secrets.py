from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.names import FIELD_MANAGER
from csidriver.core.sensitive import Sensitive
from tests.adapters.kubernetes.requests import BASE, TOKEN, manifest
from tests.adapters.kubernetes.scripted import Says, Scripted


def test_a_patch_names_its_version_and_its_author(api: Scripted, store: KubernetesStore) -> None:
    written = {"manager": FIELD_MANAGER, "time": "2026-11-23T08:59:30Z"}
    api.answering = lambda _: Says(manifest("8", managedFields=[written]))
    patched = store.patch_secret(BASE, SecretPatch(data={"oauth": Sensitive("r1")}))
    assert (patched.resource_version, patched.age) == ("8", 30.0)
    [asked] = api.asked
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/alice/secrets/token")
    assert asked.query == {"fieldManager": FIELD_MANAGER}
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.body == {"metadata": {"resourceVersion": "7"}, "data": {"oauth": "cjE="}}


def test_a_delete_names_what_it_means(api: Scripted, store: KubernetesStore) -> None:
    store.delete_secret(BASE)
    assert api.asked[0].body == {"preconditions": {"resourceVersion": "7", "uid": "u1"}}
