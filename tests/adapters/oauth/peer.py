"""A server that answers with given bytes, and the requests that tests send to it."""

import contextlib
import datetime as dt
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.webhook.x509 import CertificateFactory
from tests.waiting import until

APP = Client("app", Sensitive("s3cret"))
PUBLIC = Client("public", Sensitive(""))
PATIENT = 10.0  # seconds; only a defect waits for it
BRIEF = 1.2  # seconds; a busy machine connects within them
LATE = 8.0  # seconds; whoever needs as long has missed a deadline of BRIEF
FOR_EVER = 30.0
TOKENS = b'{"access_token":"at","refresh_token":"rt2","token_type":"Bearer","expires_in":60}'
RT = Sensitive("rt-planted-and-easy-to-find")


def http(body: bytes = TOKENS, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


class Peer(socketserver.ThreadingTCPServer):
    """Answers each request with the bytes for its path, `slowly` from some byte on; keeps count.

    It closes each connection after one answer, or after `per_connection`, or if it has no answer.
    """

    def __init__(
        self,
        reply: bytes,
        *,
        by_path: Mapping[str, bytes] | None = None,
        slowly: int | None = None,
        tls: ssl.SSLContext | None = None,
        greets: bool = False,
        per_connection: int = 1,
    ) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.reply, self.slowly, self.per_connection = reply, slowly, per_connection
        self.before_reply: Callable[[], object] = lambda: None
        self.by_path = dict(by_path or {})
        self.requests: list[str] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._tls, self._greets = tls, greets
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._stopping.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def finish_request(self, request: Any, *_: Any) -> None:
        with contextlib.suppress(OSError):
            self.serve(request)

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        served = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
        self._open.add(served)
        try:
            for _ in range(self.per_connection):
                if not self._answer(served):
                    break
        finally:
            if self._tls:
                served.close()
            self._open.discard(served)

    def _answer(self, connection: socket.socket) -> bool:
        request = ""
        if not self._greets:
            request = read_request(connection)
            if not request and self.per_connection > 1:
                return False  # the client has closed the connection
            self.requests.append(request)
        reply = self.reply_to(request)
        self.before_reply()
        fast = len(reply) if self.slowly is None else self.slowly
        connection.sendall(reply[:fast])
        for byte in reply[fast:]:
            if self._stopping.wait(0.02):
                return False
            connection.sendall(bytes([byte]))
        return bool(reply)

    def reply_to(self, request: str) -> bytes:
        return self.by_path.get(request.split(" ", 2)[1], self.reply) if request else self.reply

    def hang_up(self) -> None:
        """Close all connections at once, as a server that restarts."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def has_open(self, number: int) -> bool:
        return bool(until(lambda: len(self._open) == number, "so many are open"))

    def form(self) -> Mapping[str, list[str]]:
        return parse_qs(self.requests[-1].partition("\r\n\r\n")[2])

    def headers(self) -> Mapping[str, str]:
        lines = self.requests[-1].partition("\r\n\r\n")[0].split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def read_request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return data.decode("latin-1")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    while length and len(body) < int(length[1]) and (chunk := connection.recv(65536)):
        body += chunk
    return (head + b"\r\n\r\n" + body).decode("latin-1")


def refresh(
    issuer: Issuer, token: Sensitive = RT, client: Client = APP, timeout: float = PATIENT
) -> TokenResponse:
    """Send a token request, and wait for the response no longer than for the connection."""
    return TokenEndpoints().refresh(issuer, client, token, timeout, timeout, threading.Event())


def send(endpoints: TokenEndpoints, issuer: Issuer, client: Client = APP) -> TokenResponse:
    return endpoints.refresh(issuer, client, RT, PATIENT, PATIENT, threading.Event())


def listen(issuer: Issuer) -> tuple[TokenResponse, bool]:
    """Wait for the response for long; say also whether the token may have been sent."""
    sent = threading.Event()
    return TokenEndpoints().refresh(issuer, APP, RT, BRIEF, PATIENT, sent), sent.is_set()


def at_peer(peer: Peer, scheme: str = "http", **options: Any) -> Issuer:
    url = f"{scheme}://{peer.address}/token"
    return Issuer("peer", token_endpoint=url, internal=True, **options)


def signal(outcome: TokenResponse) -> FailureReason:
    assert isinstance(outcome, Failure)
    return outcome.reason


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    start: dt.timedelta = dt.timedelta(hours=-1),
    end: dt.timedelta = dt.timedelta(hours=1),
) -> tuple[Path, ssl.SSLContext]:
    """The CA (file) of a certificate for an address, and a server context that shows that one.

    Certificate and key are beside it in `server.pem` and `key.pem`.
    `start` and `end` of its time are relative to now.
    """
    factory, now = CertificateFactory(), dt.datetime.now(dt.UTC).timestamp()
    begins, lasts = now + start.total_seconds() + 3600, (end - start).total_seconds() - 3600
    authority, signer = factory.new_authority(begins, lasts)
    serving, key = factory.issue_serving_certificate(authority, signer, {address}, begins, lasts)
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "server.pem").write_text(serving.pem)
    (folder / "key.pem").write_text(key.reveal())
    return folder / "ca.pem", factory.server_context(serving.pem, key)


def signing_client() -> tuple[Client, ec.EllipticCurvePublicKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Client("app", Sensitive(""), Sensitive(pem)), key.public_key()


def described(peer: Peer, **fields: object) -> bytes:
    """Metadata of an issuer that answers token requests with the same JSON, tokens and all."""
    own = {"issuer": f"http://{peer.address}", "token_endpoint": f"http://{peer.address}/t"}
    return http(json.dumps({**json.loads(TOKENS), **own, **fields}).encode())


def discoverable(peer: Peer, **options: Any) -> Issuer:
    return Issuer("meta", issuer=f"http://{peer.address}", internal=True, **options)


def paths(peer: Peer) -> list[str]:
    return [request.split(" ", 2)[1] for request in peer.requests]


WELL_KNOWN = "/.well-known/openid-configuration"
WELL_KNOWN_OAUTH = "/.well-known/oauth-authorization-server"
