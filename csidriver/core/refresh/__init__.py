"""The refresh protocol of docs/protocol.md. Pure: it yields effects that the refresher performs."""
