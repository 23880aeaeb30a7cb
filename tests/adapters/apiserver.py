"""A small API server for tests: it lists, gets and watches, and misbehaves when told to.

What it answers while it behaves is compared with the real one in tests/cluster.
"""

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PATIENCE = 10.0  # seconds; only a defect waits for it
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One request as it came: `peer` says whether it came with a client certificate."""

    verb: str
    path: str
    query: dict[str, str]
    token: str
    peer: bool
    connection: int


@dataclass(frozen=True)
class Reply:
    """An answer instead of the proper one; `body` None: the request is never answered."""

    status: int = 200
    body: bytes | None = b"{}"
    location: str = ""


class End(Enum):
    """How a watch ends."""

    PROPER = auto()
    CUT = auto()


class Watch(queue.Queue[bytes | End]):
    """The events of one object, (kind, namespace, name), for some seconds."""

    def __init__(self, wanted: tuple[str, str, str], seconds: float) -> None:
        super().__init__()
        self.wanted = wanted
        self._over_at = time.monotonic() + seconds

    def take(self) -> bytes | End:
        try:
            return self.get(timeout=max(0.0, self._over_at - time.monotonic()))
        except queue.Empty:
            return End.PROPER


class ApiServer:
    """Serves from entering to leaving; objects and faults may change at any time."""

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        self.tokens: set[str] = set()
        self.seen: list[Seen] = []
        self.watches: list[Watch] = []
        self.pem = folder / "server.pem"
        self._changed = threading.Condition()
        self._objects: dict[tuple[str, str, str], Manifest] = {}
        self._history: list[tuple[int, str, tuple[str, str, str], Manifest]] = []
        self._replies: dict[str, deque[Reply]] = {}
        self._version = 100
        self._oldest = 0
        self._over = threading.Event()
        self._server = _Server(self)
        write_pem(self.pem)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.pem)
            context.load_verify_locations(self.pem)
            context.verify_mode = ssl.CERT_OPTIONAL
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._changed:
            self.end(End.CUT)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, name: str, data: dict[str, str], **options: Any) -> Manifest:
        """Make or change an object; `kind`, `namespace` and further metadata as options."""
        kind, namespace = options.pop("kind", "secrets"), options.pop("namespace", "tokens")
        if kind == "secrets":
            data = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        return self.store(kind, namespace, {"metadata": {"name": name, **options}, "data": data})

    def store(self, kind: str, namespace: str, manifest: Manifest) -> Manifest:
        """Make an object, or put this in its place; what is stored already stays as it is."""
        with self._changed:
            key = kind, namespace, manifest["metadata"]["name"]
            old = self._objects.get(key)
            version = str(self._version + 1)
            kept = old["metadata"] if old else {"uid": f"uid-{version}", "resourceVersion": ""}
            fixed = {name: kept[name] for name in ("uid", "resourceVersion")}
            metadata = {**manifest["metadata"], "namespace": namespace, **fixed}
            new = {**manifest, "metadata": metadata}
            if new == old:
                return old
            self._version += 1
            metadata["resourceVersion"] = version
            self._tell("MODIFIED" if old else "ADDED", key, new)
            self._objects[key] = new
        return new

    def remove(self, name: str, *, kind: str = "secrets", namespace: str = "tokens") -> None:
        with self._changed:
            self._version += 1
            key = kind, namespace, name
            manifest = self._objects.pop(key)
            metadata = {**manifest["metadata"], "resourceVersion": str(self._version)}
            self._tell("DELETED", key, {**manifest, "metadata": metadata})

    def _namespace(self, name: str) -> Manifest | Reply:
        if any(namespace == name for _, namespace, _ in self._objects):
            return {"metadata": {"name": name, "uid": f"uid-of-{name}"}}
        return Reply(404)

    def bookmark(self) -> None:
        """Say that time has passed, to those who watch now."""
        with self._changed:
            self._version += 5
            content = {"kind": "Secret", "metadata": {"resourceVersion": str(self._version)}}
            self.send(event("BOOKMARK", content))

    def send(self, *chunks: bytes) -> None:
        """Chunks to all who watch now."""
        for watch in self.watches:
            for chunk in chunks:
                watch.put(chunk)

    def end(self, how: End) -> None:
        """End all watches after what was sent."""
        for watch in self.watches:
            watch.put(how)

    def forget(self) -> None:
        """Compact: versions before now are too old to watch from."""
        with self._changed:
            self._version += 1
            self._oldest = self._version

    def next(self, verb: str, *replies: Reply) -> None:
        """What the next requests with this verb get."""
        self._replies.setdefault(verb, deque()).extend(replies)

    def until(self, true: Callable[[], object]) -> None:
        """Wait for something that a request changes."""
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), "it never came to be"

    def count(self, verb: str) -> int:
        return sum(seen.verb == verb for seen in self.seen)

    def answer(self, seen: Seen) -> Reply | Manifest | Watch:
        """A reply of its own, a document, or the events of a new watch."""
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()
            if replies := self._replies.get(seen.verb):
                return replies.popleft()
            if self.tokens and seen.token not in self.tokens:
                return Reply(401)
            _, _, _, _, namespace, *rest = seen.path.split("/")
            if not rest:
                return self._namespace(namespace)
            kind, *name = rest
            if seen.verb == "get":
                return self._objects.get((kind, namespace, name[0]), Reply(404))
            wanted = kind, namespace, seen.query["fieldSelector"].removeprefix("metadata.name=")
            if seen.verb == "list":
                items = [self._objects[wanted]] if wanted in self._objects else []
                return {"metadata": {"resourceVersion": str(self._version)}, "items": items}
            since = int(seen.query["resourceVersion"])
            watch = Watch(wanted, float(seen.query["timeoutSeconds"]))
            if since < self._oldest:
                watch.put(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
                watch.put(End.PROPER)
            for version, type_, key, manifest in self._history:
                if version > since and key == wanted:
                    watch.put(event(type_, manifest))
            if self._over.is_set():
                watch.put(End.CUT)
            self.watches.append(watch)
            return watch

    def ended(self, watch: Watch) -> None:
        with self._changed:
            self.watches.remove(watch)
            self._changed.notify_all()

    def hang(self) -> None:
        self._over.wait(PATIENCE)

    def _tell(self, type_: str, key: tuple[str, str, str], manifest: Manifest) -> None:
        self._history.append((self._version, type_, key, manifest))
        for watch in self.watches:
            if watch.wanted == key:
                watch.put(event(type_, manifest))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Heads and bodies are sent apart; nobody should wait for an acknowledgement in between.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        verb = "watch" if "watch" in query else "list" if query else "get"
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        secure = isinstance(self.connection, ssl.SSLSocket)
        peer = secure and bool(self.connection.getpeercert())
        port = self.client_address[1]
        answer = self.server.api.answer(Seen(verb, parts.path, query, token, peer, port))
        if isinstance(answer, Watch):
            self._watch(answer)
        elif isinstance(answer, Reply):
            self._reply(answer)
        else:
            self._reply(Reply(200, json.dumps(answer).encode()))

    def _reply(self, reply: Reply) -> None:
        if reply.body is None:
            self.server.api.hang()
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.location:
            self.send_header("Location", reply.location)
        self.end_headers()
        self.wfile.write(reply.body)

    def _watch(self, events: Watch) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while isinstance(chunk := events.take(), bytes):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if chunk is End.PROPER:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            self.server.api.ended(events)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def event(type_: str, content: Manifest) -> bytes:
    return json.dumps({"type": type_, "object": content}).encode() + b"\n"


def write_pem(path: Path) -> None:
    """A key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api server of a test")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, *form)
    # By rename, as kubelet does it.
    draft = path.with_suffix(".draft")
    draft.write_bytes(text + certificate.public_bytes(serialization.Encoding.PEM))
    draft.rename(path)
