from typing import Any

from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.kubectl.event_rows import EventRow
from tests.kubectl.printed import NOW


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
