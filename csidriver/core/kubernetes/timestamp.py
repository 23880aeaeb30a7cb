"""Instants in RFC 3339, for annotations and messages; elsewhere they are epoch seconds."""

from datetime import UTC, datetime

# Later years have no form in RFC 3339.
MAX_INSTANT = 253_402_300_799.0


def format_rfc3339(instant: float) -> str:
    """Format epoch seconds in UTC, without fractions, such as `2026-11-23T18:51:00Z`."""
    return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> float | None:
    """Return epoch seconds, None if the text is not an instant with an offset."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo is not None else None
