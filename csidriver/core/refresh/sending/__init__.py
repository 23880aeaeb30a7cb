"""Token requests that may be repeated, because they consume nothing (docs/protocol.md 10)."""
