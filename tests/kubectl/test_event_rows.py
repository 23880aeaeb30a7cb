"""Events of tokens and pods."""

from typing import Any

from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.event_rows import EventRow, read_events
from tests.kubectl.printed import NOW
from tests.kubectl.stand_in import StandIn


def event(kind: str, name: str, ago: float, **more: Any) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": "NeedsReauth",
        "message": " log in again\n",
        "source": {"component": "oauth2-csi"},
        "involvedObject": {"kind": kind, "name": name},
        "firstTimestamp": format_rfc3339(NOW - ago),
        "lastTimestamp": format_rfc3339(NOW - ago),
        "count": 1,
        **more,
    }


def test_an_event_of_the_newer_api_is_understood() -> None:
    series = {"count": 5, "lastObservedTime": "2027-01-15T07:59:00.000000Z"}
    newer = event("Secret", "mail", 0, eventTime="2027-01-15T07:50:00.000000Z", series=series)
    newer |= {"lastTimestamp": None, "firstTimestamp": None, "source": {}, "count": None}
    newer |= {"reportingComponent": "oauth2-csi", "type": "Normal"}
    row = ["Normal", "NeedsReauth", "60s (x5 over 10m)", "oauth2-csi", "log in again"]
    assert EventRow.parse(newer).row(NOW) == row


def test_events_of_the_pods_that_wait_are_among_them(stand_in: StandIn) -> None:
    own = "--field-selector=involvedObject.kind=Secret,involvedObject.name=mail"
    mounts = "--field-selector=involvedObject.kind=Pod,reason=FailedMount"
    stand_in.answer(own, stdout={"items": [event("Secret", "mail", 10)]})
    waiting = [event("Pod", "reader", 20), event("Pod", "another", 30)]
    stand_in.answer(mounts, stdout={"items": waiting})
    found = read_events(Kubectl(), SourceRef("team-a", "mail"), ["reader"])
    assert [e.message for e in found] == ["pod reader: log in again", "log in again"]


def test_without_pods_their_events_are_not_asked_for(stand_in: StandIn) -> None:
    stand_in.answer("events", stdout={"items": []})
    assert read_events(Kubectl(), SourceRef("team-a", "mail"), []) == []
    assert len(stand_in.calls) == 1
