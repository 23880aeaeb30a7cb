from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef

REF = SourceRef("alice", "hello")


def test_an_event_refers_to_the_secret_that_was_read() -> None:
    about = Event(REF, "uid-1", "Ready", "fresh", normal=True).object_reference
    place = {"namespace": "alice", "name": "hello"}
    assert about == {"apiVersion": "v1", "kind": "Secret", "uid": "uid-1", **place}


def test_an_event_refers_to_a_deployment_without_ever_having_read_it() -> None:
    about = Event(REF, "", "Ready", "fresh", normal=True, kind="Deployment").object_reference
    place = {"namespace": "alice", "name": "hello"}
    assert about == {"apiVersion": "apps/v1", "kind": "Deployment", **place}
