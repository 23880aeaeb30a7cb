"""Instants as users read them: RFC 3339 in UTC. Everywhere else an instant is epoch seconds."""

from datetime import UTC, datetime


def format_rfc3339(instant: float) -> str:
    """Epoch seconds as `2026-11-23T18:51:00Z`; fractions are cut off."""
    return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> float | None:
    """Epoch seconds of an RFC 3339 instant, None if it is none."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo is not None else None
