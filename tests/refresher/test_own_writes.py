import threading

import pytest

from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.refresher import own_writes
from csidriver.refresher.own_writes import MAX_REMEMBERED, OwnWrites

REF = SourceRef("ns", "hello")


def written(version: str) -> Secret:
    return Secret("ns", "hello", uid="uid", resource_version=version)


def test_the_newest_writes_are_found_by_object_and_version() -> None:
    own = OwnWrites()
    for version in range(MAX_REMEMBERED + 1):
        own.add(REF, written(str(version)))
    assert own.find("uid", "1") == own.find("uid", str(MAX_REMEMBERED)) == REF
    assert own.find("uid", "0") is None
    assert own.find("other", "1") is None


def test_the_response_to_a_write_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_writes, "MAX_RESPONSE_WAIT", 60.0)
    own, found = OwnWrites(), list[SourceRef | None]()
    with own.writing("uid"):
        watch = threading.Thread(target=lambda: found.append(own.find("uid", "1")))
        watch.start()
        assert own.find("other", "1") is None
        own.add(REF, written("1"))
        assert not found
    watch.join()
    assert found == [REF]


def test_a_response_that_does_not_come_holds_up_nobody() -> None:
    own = OwnWrites()
    with own.writing("uid"):
        assert own.find("uid", "1") is None
