"""Clients that hold on to a port: they say nothing, little, too much, or do not read."""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

# Bytes to send, and seconds until the next ones.
Course = Iterator[tuple[bytes, float]]
_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def silent() -> Course:
    return itertools.repeat((b"", 0.1))


def dripping() -> Course:
    whole = itertools.chain(_REQUEST, itertools.repeat(ord("x")))
    return ((bytes([byte]), 2.0) for byte in whole)


def endless() -> Course:
    yield _REQUEST, 0.0
    for number in itertools.count():
        yield b"X-%d: y\r\n" % number * 50, 0.05


def deaf() -> Course:
    """Ask again and again, and read nothing."""
    return itertools.repeat(((_REQUEST + b"\r\n") * 20, 0.1))


KINDS = (silent, dripping, endless, deaf)


class RudeClients:
    """Come again whenever they are sent away; `opened` counts how often they came."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        kinds: Sequence[Callable[[], Course]] = KINDS,
        count: int = 64,
    ) -> None:
        self.opened = 0
        self._connect = connect
        self._stop = threading.Event()
        chosen = itertools.islice(itertools.cycle(kinds), count)
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in chosen]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: Callable[[], Course]) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), self._connect() as connected:
                self.opened += 1
                self._follow(connected, kind())

    def _follow(self, connected: socket.socket, course: Course) -> None:
        connected.settimeout(1.0)
        gone = select.poll()
        gone.register(connected, _GONE)
        for text, pause in course:
            if text:
                connected.sendall(text)
            if gone.poll(pause * 1000) or self._stop.is_set():
                return


def connect_to(host: str, port: int) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        connected = socket.socket()
        # Little is in flight to who does not read.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connected.settimeout(5)
        connected.connect((host, port))
        return connected

    return connect
