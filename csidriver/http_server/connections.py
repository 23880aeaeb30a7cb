"""Limit on concurrent connections, so that slow peers cost a bounded amount.

When the limit is reached, the connection that has been idle longest is closed, else the slowest.
"""

import contextlib
import select
import socket
import threading
import time
from enum import Enum, auto


class ConnectionState(Enum):
    """The state of a connection."""

    # Between two requests: may be closed at any time.
    IDLE = auto()
    # The peer has begun a handshake or a request, and we wait for the rest.
    WAITING = auto()
    # The peer waits for our answer.
    ANSWERING = auto()


class Connection:
    """A connection. Its own thread sets its state, any thread may abort it."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.set_state(ConnectionState.WAITING)
        self.is_aborted = False

    def set_state(self, state: ConnectionState) -> None:
        self.state, self.since = state, time.monotonic()

    @property
    def is_idle(self) -> bool:
        """True between two requests, as long as no byte of the next one has arrived."""
        with contextlib.suppress(OSError, ValueError):
            # In this order: the connection's thread sets the state before it takes the byte.
            return not self.is_readable(0) and self.state is ConnectionState.IDLE
        return False

    def is_readable(self, seconds: float) -> bool:
        """Return True if the peer has sent bytes, or sends some within `seconds`."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def abort(self) -> None:
        """End reads and writes of the connection's thread at once."""
        self.is_aborted = True
        with contextlib.suppress(OSError):
            # On the plain socket: the TLS method would drop the state that the thread still uses.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class ConnectionLimiter:
    """All connections. `max_wait` is how long a peer may be slow while others wait for a place."""

    def __init__(self, max_connections: int, max_wait: float) -> None:
        self._max_connections = max_connections
        self._max_wait = max_wait
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> bool:
        """Add a connection, aborting another one if necessary; return False once closed."""
        with self._changed:
            while len(self._connections) >= self._max_connections and not self._closed:
                self._abort_one()
                self._changed.wait(0.05)
            if not self._closed:
                self._connections.add(connection)
            return not self._closed

    def remove(self, connection: Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Refuse new connections, abort the idle ones, and the others after `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for connection in self._connections:
                if connection.is_idle:
                    connection.abort()
            if not self._changed.wait_for(lambda: not self._connections, timeout):
                for connection in self._connections:
                    connection.abort()

    def _abort_one(self) -> None:
        """Abort the connection idle longest, else the slowest; wait until the last one is gone."""
        if any(connection.is_aborted for connection in self._connections):
            return
        too_slow = time.monotonic() - self._max_wait
        idle = [c for c in self._connections if c.is_idle]
        slow = [
            c
            for c in self._connections
            if c.state is ConnectionState.WAITING and c.since <= too_slow
        ]
        if idle or slow:
            min(idle or slow, key=lambda connection: connection.since).abort()
