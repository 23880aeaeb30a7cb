from csidriver.core.kubernetes.event import Event
from csidriver.core.names import SourceRef

REF = SourceRef("alice", "hello")


def test_an_event_refers_to_the_secret_that_was_read() -> None:
    reference = Event(REF, "uid-1", "Ready", "fresh", normal=True).object_reference
    ref = {"namespace": "alice", "name": "hello"}
    assert reference == {"apiVersion": "v1", "kind": "Secret", "uid": "uid-1", **ref}


def test_an_event_refers_to_a_deployment_without_ever_having_read_it() -> None:
    reference = Event(REF, "", "Ready", "fresh", normal=True, kind="Deployment").object_reference
    ref = {"namespace": "alice", "name": "hello"}
    assert reference == {"apiVersion": "apps/v1", "kind": "Deployment", **ref}
