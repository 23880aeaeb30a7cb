"""Events of a token and of the pods that wait for it, as `kubectl describe` shows them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.kubernetes.timestamp import parse_rfc3339
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.output.ages import human_duration

_HEADERS = (
    ("Type", "Reason", "Age", "From", "Message"),
    ("----", "------", "----", "----", "-------"),
)


@dataclass(frozen=True, slots=True)
class EventRow:
    """An Event, with the instants of its first and its last occurrence."""

    is_normal: bool
    reason: str
    message: str
    component: str
    first: float
    last: float
    count: int

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> "EventRow":
        series = event.get("series") or {}
        first = _instant(event, "eventTime", "firstTimestamp", "lastTimestamp")
        last = _instant(series, "lastObservedTime") or _instant(event, "lastTimestamp") or first
        source = event.get("source") or {}
        involved = event.get("involvedObject") or {}
        prefix = f"pod {involved.get('name')}: " if involved.get("kind") == "Pod" else ""
        return cls(
            is_normal=event.get("type") == "Normal",
            reason=str(event.get("reason", "")),
            message=prefix + str(event.get("message", "")).strip(),
            component=str(source.get("component") or event.get("reportingComponent") or ""),
            first=first,
            last=last,
            count=int(series.get("count") or event.get("count") or 1),
        )

    def row(self, now: float) -> list[str]:
        age = human_duration(max(0.0, now - self.first))
        if self.count > 1:
            age = f"{human_duration(max(0.0, now - self.last))} (x{self.count} over {age})"
        kind = "Normal" if self.is_normal else "Warning"
        return [kind, self.reason, age, self.component, self.message]


def read_events(kubectl: Kubectl, ref: SourceRef, pods: Collection[str]) -> list[EventRow]:
    """Return the events of a Secret, and FailedMount events of pods, the oldest first."""
    where = f"--namespace={ref.namespace}"
    own = f"involvedObject.kind=Secret,involvedObject.name={ref.name}"
    items = list(kubectl.get("events", where, f"--field-selector={own}")["items"])
    if pods:
        mounts = "involvedObject.kind=Pod,reason=FailedMount"
        found = kubectl.get("events", where, f"--field-selector={mounts}")["items"]
        items += [event for event in found if event["involvedObject"].get("name") in pods]
    return sorted(map(EventRow.parse, items), key=lambda event: event.last)


def rows(events: Collection[EventRow], now: float) -> list[list[str]]:
    return [*map(list, _HEADERS), *(event.row(now) for event in events)]


def _instant(values: Mapping[str, Any], *keys: str) -> float:
    instants = (parse_rfc3339(str(values.get(key) or "")) for key in keys)
    return next((instant for instant in instants if instant is not None), 0.0)
