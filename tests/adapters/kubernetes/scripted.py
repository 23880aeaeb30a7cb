"""An HTTP server that does what a test says, request by request."""

import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

PATIENCE = 10.0  # seconds; only a defect waits for it


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


@dataclass(frozen=True)
class Says:
    """An answer; `status` 0 cuts the connection, None says nothing."""

    document: Any = field(default_factory=dict)
    status: int | None = 200

    @property
    def body(self) -> bytes:
        return (
            self.document
            if isinstance(self.document, bytes)
            else json.dumps(self.document).encode()
        )


class Stream:
    """A watch: what is put into it is sent; `end` ends it properly, `cut` does not."""

    def __init__(self, *events: Any) -> None:
        self._queue: queue.Queue[bytes | bool] = queue.Queue()
        self.tell(*events)

    def tell(self, *events: Any) -> Self:
        for event in events:
            raw = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
            self._queue.put(raw)
        return self

    def end(self) -> Self:
        self._queue.put(True)
        return self

    def cut(self) -> Self:
        self._queue.put(False)
        return self

    def next(self) -> bytes | bool:
        return self._queue.get()


Answering = Callable[[Asked], Says | Stream]


class Scripted(ThreadingHTTPServer):
    """Answers with `answering`; keeps what was asked. Serves from entering to leaving."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answering: Answering = lambda _: Says()
        self.over = threading.Event()
        self._changed = threading.Condition()
        self._streams: list[Stream] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for stream in self._streams:
            stream.cut()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def until(self, true: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), "it never came to be"

    def answer(self, asked: Asked) -> Says | Stream:
        with self._changed:
            self.asked.append(asked)
            said = self.answering(asked)
            if isinstance(said, Stream):
                self._streams.append(said)
            self._changed.notify_all()
            return said

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Scripted

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method of HTTP is answered alike."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._answer

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        asked = Asked(self.command, parts.path, query, dict(self.headers), body)
        said = self.server.answer(asked)
        if isinstance(said, Stream):
            self._stream(said)
        elif not said.status:
            if said.status is None:
                self.server.over.wait(PATIENCE)
            self.close_connection = True
        else:
            self.send_response(said.status)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

    def _stream(self, stream: Stream) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while isinstance(chunk := stream.next(), bytes):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if chunk:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
