"""Who is connected: at most so many, so that peers who keep us waiting cost a bounded amount."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from enum import Enum, auto


class ConnectionState(Enum):
    """What a connection is at."""

    # Between two requests: may be ended at any time.
    IDLE = auto()
    # Its peer has begun something, a handshake or a request, and owes us the rest.
    WAITING = auto()
    # We owe the answer.
    ANSWERING = auto()


class Connection:
    """A connection. Its own thread says what it is at, any thread may cut it."""

    def __init__(self, connected: ssl.SSLSocket, now: float) -> None:
        self.socket = connected
        self.state, self.since = ConnectionState.WAITING, now
        self.is_aborted = False

    def set_state(self, doing: ConnectionState, now: float) -> None:
        """Note what it is at from now on (monotonic seconds)."""
        self.state, self.since = doing, now

    @property
    def is_idle(self) -> bool:
        """Between two requests, and nothing has come of the next one."""
        if self.state is not ConnectionState.IDLE:
            return False
        with contextlib.suppress(OSError, ValueError):
            return not self.is_readable(0)
        return False

    def is_readable(self, seconds: float) -> bool:
        """Whether something of its peer waits to be read, or comes within so many seconds."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def abort(self) -> None:
        """Have whatever it waits for end at once."""
        self.is_aborted = True
        with contextlib.suppress(OSError):
            # Of the plain socket: that of TLS would forget its state under its thread's feet.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class ConnectionLimiter:
    """All connections. `patience` is how long a peer may be slow when others want its place."""

    def __init__(self, most: int, patience: float, monotonic: Callable[[], float]) -> None:
        self._max_connections = most
        self._max_wait = patience
        self._monotonic = monotonic
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, guest: Connection) -> bool:
        """Give it a place, someone else's if need be; False once it is closed."""
        with self._changed:
            while len(self._connections) >= self._max_connections and not self._closed:
                self._abort_one()
                self._changed.wait(0.05)
            if not self._closed:
                self._connections.add(guest)
            return not self._closed

    def remove(self, guest: Connection) -> None:
        """It has ended."""
        with self._changed:
            self._connections.discard(guest)
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Admit nobody, cut the idle, let the others finish for so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for guest in self._connections:
                if guest.is_idle:
                    guest.abort()
            if not self._changed.wait_for(lambda: not self._connections, timeout):
                for guest in self._connections:
                    guest.abort()

    def _abort_one(self) -> None:
        """Cut who has been idle longest, or else who has kept us waiting longest; one at a time."""
        if any(guest.is_aborted for guest in self._connections):
            return
        too_slow = self._monotonic() - self._max_wait
        idle = [guest for guest in self._connections if guest.is_idle]
        slow = [
            g
            for g in self._connections
            if g.state is ConnectionState.WAITING and g.since <= too_slow
        ]
        victims = sorted(idle or slow, key=lambda guest: guest.since)
        for victim in victims[:1]:
            victim.abort()
