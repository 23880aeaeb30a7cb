import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef
from tests.adapters.kubernetes.scripted import Scripted


@pytest.mark.parametrize("name", ["a" * 253, "a" * 198 + "-.b"])
def test_an_event_of_a_long_name_fits(api: Scripted, store: KubernetesStore, name: str) -> None:
    event = Event(SourceRef("alice", name), "u1", "Ready", "m" * 5000, normal=True)
    store.create_event(event)
    body = api.asked[0].body
    assert len(body["metadata"]["name"]) < 253
    assert len(body["message"]) == 1024
