import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES
from csidriver.errors import StoreUnavailable
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import NEEDLE, manifest
from tests.adapters.kubernetes.scripted import Asked, Says, Scripted


def test_a_list_is_read_page_by_page(api: Scripted, store: KubernetesStore) -> None:
    def answering(asked: Asked) -> Says:
        page = int(asked.query.get("continue", "0"))
        more = {"continue": str(page + 1)} if page < 2 else {}
        items = [manifest(name=f"p{page}-{n}") for n in range(2)]
        return Says({"metadata": {"resourceVersion": "9", **more}, "items": items})

    api.answering = answering
    found = list(store.list_secrets("alice", "Opaque"))
    assert [secret.name for secret in found] == ["p0-0", "p0-1", "p1-0", "p1-1", "p2-0", "p2-1"]
    assert all(asked.query["limit"] == "500" for asked in api.asked)
    assert all(asked.query["fieldSelector"] == "type=Opaque" for asked in api.asked)


@pytest.mark.parametrize(
    "said",
    [
        Says(b"", 410),
        Says(f'{{"items": [{{"metadata": {{"name": "{NEEDLE}"}}, ]}}'.encode()),
        Says({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {}}]}),
    ],
    ids=["expired", "bad", "no Secret"],
)
def test_a_bad_list_is_unavailable(api: Scripted, store: KubernetesStore, said: Says) -> None:
    api.answering = lambda _: said
    with pytest.raises(StoreUnavailable) as caught:
        list(store.list_secrets("alice", "Opaque"))
    assert NEEDLE not in shown(caught.value)


def test_an_item_without_end_is_not_waited_for(api: Scripted, store: KubernetesStore) -> None:
    api.answering = lambda _: Says(b'{"items": [{"a": "' + b"x" * (3 * MAX_OBJECT_BYTES) + b'"}]}')
    with pytest.raises(StoreUnavailable, match="over"):
        list(store.list_secrets("alice", "Opaque"))
