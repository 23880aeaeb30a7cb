from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef

REF = SourceRef("alice", "hello")


def involved(event: Event) -> object:
    return event.to_manifest("name", "2026-01-01T00:00:00Z")["involvedObject"]


def test_an_event_refers_to_the_secret_that_was_read() -> None:
    event = Event(REF, "uid-1", "Ready", "fresh", normal=True)
    ref = {"namespace": "alice", "name": "hello"}
    expected = {"apiVersion": "v1", "kind": "Secret", "uid": "uid-1", **ref}
    assert involved(event) == expected


def test_an_event_refers_to_a_deployment_without_ever_having_read_it() -> None:
    event = Event(REF, "", "Ready", "fresh", normal=True, kind="Deployment")
    ref = {"namespace": "alice", "name": "hello"}
    assert involved(event) == {"apiVersion": "apps/v1", "kind": "Deployment", **ref}
