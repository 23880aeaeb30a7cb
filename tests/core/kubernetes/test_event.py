import pytest

from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef


@pytest.mark.parametrize(
    ("kind", "uid", "wanted"),
    [
        ("Secret", "uid-1", {"apiVersion": "v1", "kind": "Secret", "uid": "uid-1"}),
        ("Deployment", "", {"apiVersion": "apps/v1", "kind": "Deployment"}),
    ],
)
def test_an_event_refers_to_an_object_read_or_not(
    kind: str, uid: str, wanted: dict[str, str]
) -> None:
    event = Event(SourceRef("alice", "hello"), uid, "Ready", "fresh", normal=True, kind=kind)
    manifest = event.to_manifest("name", "2026-01-01T00:00:00Z")
    assert manifest["involvedObject"] == {"namespace": "alice", "name": "hello"} | wanted
