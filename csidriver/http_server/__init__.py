"""The HTTP server of every port. It bounds connections, header bytes and the time of a request."""
