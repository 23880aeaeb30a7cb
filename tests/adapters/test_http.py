"""The token endpoint client against a strict server, and against peers that are worse than that."""

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import re
import socket
import socketserver
import ssl
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from csidriver.adapters.oauth import TokenEndpoints
from csidriver.adapters.oauth.http_client import HttpRequest
from csidriver.adapters.oauth.tls_contexts import TlsContexts
from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.demo import families
from csidriver.demo.faults import (
    Delay,
    Drip,
    DropAfter,
    DropBefore,
    Fault,
    Oversized,
    Redirect,
    ReplacedBody,
    StatusReply,
    Truncate,
)
from csidriver.demo.issuer import StrictIssuer

APP = Client("app", Sensitive("s3cret"))
ODD = Client("a%p +:ü", Sensitive("s%3A+ :/&=ü"))
PUBLIC = Client("public", Sensitive(""))
PATIENT = 10.0  # seconds; only a defect waits for it
BRIEF = 0.4  # seconds
LATE = 3.0  # seconds; whoever needs as long has missed a deadline of BRIEF
FOR_EVER = 30.0
TOKENS = b'{"access_token":"at","refresh_token":"rt2","token_type":"Bearer","expires_in":60}'
RT = Sensitive("rt-planted-and-easy-to-find")


def http(body: bytes = TOKENS, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


class Peer:
    """Answers each request with the bytes for its path, `slowly` from some byte on; keeps count."""

    def __init__(
        self,
        reply: bytes,
        *,
        by_path: Mapping[str, bytes] | None = None,
        slowly: int | None = None,
        tls: ssl.SSLContext | None = None,
        greets: bool = False,
    ) -> None:
        self.reply = reply
        self.by_path = dict(by_path or {})
        self.requests: list[str] = []
        self.connections = 0
        stopping = self._stopping = threading.Event()
        peer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                peer.connections += 1
                with contextlib.suppress(OSError):
                    connection = tls.wrap_socket(self.request, server_side=True) if tls else None
                    self.serve(connection or self.request)
                    if connection is not None:
                        connection.close()

            def serve(self, connection: socket.socket) -> None:
                if not greets:
                    peer.requests.append(read_request(connection))
                path = "" if greets else peer.requests[-1].split(" ", 2)[1]
                reply = peer.by_path.get(path, peer.reply)
                fast = len(reply) if slowly is None else slowly
                connection.sendall(reply[:fast])
                for byte in reply[fast:]:
                    if stopping.wait(0.02):
                        return
                    connection.sendall(bytes([byte]))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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


@pytest.fixture
def strict() -> Iterator[StrictIssuer]:
    clients = [
        families.RegisteredClient(APP.client_id, APP.client_secret),
        families.RegisteredClient(ODD.client_id, ODD.client_secret),
        families.RegisteredClient(PUBLIC.client_id, None),
    ]
    with StrictIssuer(clients=clients) as running:
        yield running


def at(strict: StrictIssuer, **options: Any) -> Issuer:
    return Issuer("strict", token_endpoint=f"{strict.url}/token", internal=True, **options)


def refresh(
    issuer: Issuer, token: Sensitive = RT, client: Client = APP, timeout: float = PATIENT
) -> TokenResponse:
    return TokenEndpoints().refresh(issuer, client, token, timeout)


def at_peer(peer: Peer, scheme: str = "http", **options: Any) -> Issuer:
    url = f"{scheme}://{peer.address}/token"
    return Issuer("peer", token_endpoint=url, internal=True, **options)


def signal(outcome: TokenResponse) -> FailureReason:
    assert isinstance(outcome, Failure)
    return outcome.reason


def outcomes(strict: StrictIssuer) -> list[str]:
    return [row.outcome for row in strict.presentations()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_tokens_arrive_and_rotate(strict: StrictIssuer) -> None:
    endpoints, issuer = TokenEndpoints(), at(strict)
    first = endpoints.refresh(issuer, APP, strict.seed("app"), PATIENT)
    assert isinstance(first, Success)
    assert first.reply.access_token is not None
    assert strict.verify(first.reply.access_token.reveal()) is not None
    assert first.reply.refresh_token is not None
    second = endpoints.refresh(issuer, APP, first.reply.refresh_token, PATIENT)
    assert isinstance(second, Success)
    assert outcomes(strict) == ["rotated", "rotated"]


@pytest.mark.parametrize("client", [APP, ODD], ids=["plain", "special characters"])
@pytest.mark.parametrize("method", ["", "basic", "post"])
def test_confidential_clients_authenticate(
    strict: StrictIssuer, client: Client, method: str
) -> None:
    token = strict.seed(client.client_id)
    assert isinstance(refresh(at(strict, client_auth=method), token, client), Success)


@pytest.mark.parametrize("method", ["", "basic", "post", "none"])
def test_public_clients_only_say_who_they_are(strict: StrictIssuer, method: str) -> None:
    assert isinstance(
        refresh(at(strict, client_auth=method), strict.seed("public"), PUBLIC), Success
    )


@pytest.mark.parametrize(
    ("method", "pair"),
    [
        ("basic", "a%25p+%2B%3A%C3%BC:s%253A%2B+%3A%2F%26%3D%C3%BC"),
        ("basic_raw", "a%p +:ü:s%3A+ :/&=ü"),
    ],
)
def test_basic_credentials_are_form_encoded_unless_raw(method: str, pair: str) -> None:
    with Peer(http()) as peer:
        assert isinstance(refresh(at_peer(peer, client_auth=method), client=ODD), Success)
        scheme, _, encoded = peer.headers()["authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", pair)
    assert peer.form() == {"grant_type": ["refresh_token"], "refresh_token": [RT.reveal()]}


def test_none_sends_no_secret_even_if_there_is_one() -> None:
    with Peer(http()) as peer:
        assert isinstance(refresh(at_peer(peer, client_auth="none")), Success)
    assert "authorization" not in peer.headers()
    assert peer.form()["client_id"] == ["app"]
    assert APP.client_secret.reveal() not in peer.requests[0]


@pytest.mark.parametrize("scope", ["", "openid profile"])
def test_scope_is_sent_only_if_configured(scope: str) -> None:
    with Peer(http()) as peer:
        refresh(at_peer(peer, scope=scope))
    assert peer.form().get("scope", []) == ([scope] if scope else [])


THROTTLE = {"Retry-After": "7"}


@pytest.mark.parametrize(
    ("fault", "expected", "kind", "server_says"),
    [
        (
            StatusReply(400),
            FailureReason.INVALID_REQUEST,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (
            StatusReply(400, b'{"error":"invalid_grant"}'),
            FailureReason.INVALID_GRANT,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (
            StatusReply(401),
            FailureReason.INVALID_CLIENT,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (StatusReply(403), FailureReason.FORBIDDEN, Consumption.NOT_CONSUMED, "answered_before"),
        (StatusReply(404), FailureReason.NO_ENDPOINT, Consumption.NOT_CONSUMED, "answered_before"),
        (
            StatusReply(429, b"", THROTTLE),
            FailureReason.THROTTLED,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (
            StatusReply(503, b"", THROTTLE),
            FailureReason.THROTTLED,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (StatusReply(503), FailureReason.SERVER_ERROR, Consumption.UNKNOWN, "answered_before"),
        (
            StatusReply(500, b"<html>"),
            FailureReason.SERVER_ERROR,
            Consumption.UNKNOWN,
            "answered_before",
        ),
        (
            Redirect("http://[", 302),
            FailureReason.REDIRECT,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (
            Redirect("/\xff\xfe"),
            FailureReason.REDIRECT,
            Consumption.NOT_CONSUMED,
            "answered_before",
        ),
        (
            ReplacedBody(b"<html>", "text/html"),
            FailureReason.BAD_REPLY,
            Consumption.UNKNOWN,
            "rotated",
        ),
        (
            ReplacedBody(b'{"access_token":'),
            FailureReason.BAD_REPLY,
            Consumption.UNKNOWN,
            "rotated",
        ),
        (ReplacedBody(b"\xff\xfe\x00"), FailureReason.BAD_REPLY, Consumption.UNKNOWN, "rotated"),
        (ReplacedBody(b"[" * 100_000), FailureReason.BAD_REPLY, Consumption.UNKNOWN, "rotated"),
        (ReplacedBody(b""), FailureReason.BAD_REPLY, Consumption.UNKNOWN, "rotated"),
        (Oversized(3_000_000), FailureReason.BAD_REPLY, Consumption.UNKNOWN, "rotated"),
        (Truncate(10), FailureReason.NO_ANSWER, Consumption.UNKNOWN, "rotated"),
        (DropBefore(), FailureReason.NO_ANSWER, Consumption.UNKNOWN, "dropped_before"),
        (DropAfter(), FailureReason.NO_ANSWER, Consumption.UNKNOWN, "rotated"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", repr(value))[:24],
)
def test_every_fault_has_its_signal(
    strict: StrictIssuer, fault: Fault, expected: FailureReason, kind: Consumption, server_says: str
) -> None:
    token = strict.seed("app")
    strict.add_faults(fault)
    outcome = refresh(at(strict), token)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.reason.consumption) == (expected, kind)
    assert outcome.pause == (7.0 if expected is FailureReason.THROTTLED else None)
    assert outcomes(strict) == [server_says]


@pytest.mark.parametrize("fault", [Delay(FOR_EVER), Drip(0.02)], ids=["silence", "headers drip"])
def test_the_deadline_holds_before_the_body(strict: StrictIssuer, fault: Fault) -> None:
    token = strict.seed("app")
    strict.add_faults(fault)
    began = time.monotonic()
    assert signal(refresh(at(strict), token, timeout=BRIEF)) is FailureReason.NO_ANSWER
    assert time.monotonic() - began < LATE


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 Forbidden"])
@pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
def test_a_dripping_answer_ends_at_the_deadline_and_proves_nothing(
    status: str, headers: str
) -> None:
    reply = http(b" " * 5000, status, headers)
    for slowly in (20, len(reply) - 5000):
        with Peer(reply, slowly=slowly) as peer:
            began = time.monotonic()
            assert signal(refresh(at_peer(peer), timeout=BRIEF)) is FailureReason.NO_ANSWER
            assert time.monotonic() - began < LATE


def test_tokens_that_arrived_before_the_deadline_are_kept_whatever_drips_behind_them() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with Peer(head + TOKENS + b" " * 5000, slowly=len(head + TOKENS)) as peer:
        outcome = refresh(at_peer(peer), timeout=BRIEF)
    assert isinstance(outcome, Success)
    assert outcome.reply.refresh_token == Sensitive("rt2")


def test_nobody_listens() -> None:
    issuer = Issuer("x", token_endpoint=f"http://127.0.0.1:{free_port()}/token", internal=True)
    outcome = refresh(issuer)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.reason.consumption) == (
        FailureReason.UNREACHABLE,
        Consumption.NOT_SENT,
    )


@pytest.mark.parametrize(
    "url", ["http://nowhere.invalid/token", "http://\u00e4\u0300..x/", f"http://{'a' * 70}.x/"]
)
def test_names_that_lead_nowhere(url: str) -> None:
    assert (
        signal(refresh(Issuer("x", token_endpoint=url, internal=True))) is FailureReason.UNREACHABLE
    )


def test_a_scope_that_is_no_text_is_not_sent() -> None:
    with Peer(http()) as peer:
        assert signal(refresh(at_peer(peer, scope="\ud800"))) is FailureReason.UNREACHABLE
    assert peer.connections == 0


def test_no_time_left_sends_nothing() -> None:
    with Peer(http()) as peer:
        assert signal(refresh(at_peer(peer), timeout=0.0)) is FailureReason.UNREACHABLE
    assert peer.connections == 0


def test_a_redirect_is_not_followed_and_its_body_not_read_without_bound() -> None:
    with Peer(http()) as target:
        location = f"Location: http://{target.address}/token\r\n"
        with Peer(http(b"x" * 3_000_000, "307 Temporary Redirect", location)) as peer:
            outcome = refresh(at_peer(peer))
        assert signal(outcome) is FailureReason.BAD_REPLY
        with Peer(http(b"", "307 Temporary Redirect", location)) as peer:
            assert signal(refresh(at_peer(peer))) is FailureReason.REDIRECT
        assert len(peer.requests) == 1
        assert target.connections == 0


def test_netrc_and_proxies_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\n", encoding="ascii")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Peer(http()) as peer, Peer(http()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        assert isinstance(refresh(at_peer(peer), client=PUBLIC), Success)
        assert "authorization" not in peer.headers()
        assert proxy.connections == 0


def test_a_configured_proxy_is_used() -> None:
    with Peer(http()) as proxy:
        url = "http://as.invalid/token"
        issuer = Issuer("x", token_endpoint=url, internal=True, proxy=f"http://{proxy.address}")
        assert isinstance(refresh(issuer), Success)
        assert proxy.requests[0].startswith(f"POST {url} HTTP/1.1\r\n")


def test_a_proxy_that_refuses_to_connect_is_never_sent_the_token() -> None:
    with Peer(http(b"", "403 Forbidden")) as proxy:
        issuer = Issuer("x", token_endpoint="https://as.invalid/t", proxy=f"http://{proxy.address}")
        assert signal(refresh(issuer)) is FailureReason.UNREACHABLE
        assert RT.reveal() not in "".join(proxy.requests)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1 (file), and a server context that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_a_certificate_is_trusted_only_through_ca_file(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    with Peer(http(), tls=context) as peer:
        distrusted = refresh(at_peer(peer, "https"))
        assert isinstance(distrusted, Failure)
        assert (distrusted.reason, distrusted.reason.consumption) == (
            FailureReason.TLS,
            Consumption.NOT_SENT,
        )
        assert signal(refresh(at_peer(peer, "https", ca_file=str(other)))) is FailureReason.TLS
        assert peer.requests == []
        assert isinstance(refresh(at_peer(peer, "https", ca_file=str(ca_file))), Success)


def test_a_changed_ca_file_counts_from_the_next_exchange_on(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    current = tmp_path / "current.pem"
    with Peer(http(), tls=context) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer, "https", ca_file=str(current))
        for content, good in (
            (None, False),
            ("no certificate", False),
            (ca_file.read_text(encoding="ascii"), True),
            ("", False),
        ):
            if content is not None:
                current.write_text(content, encoding="ascii")
            outcome = endpoints.refresh(issuer, APP, RT, PATIENT)
            assert isinstance(outcome, Success) if good else signal(outcome) is FailureReason.TLS
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "greeting",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\x40\x00" + bytes(2000)],
    ids=["hangs up", "speaks HTTP", "handshake drips"],
)
def test_what_fails_before_tls_stands_was_not_sent(greeting: bytes) -> None:
    drips = len(greeting) > 1000
    with Peer(greeting, greets=True, slowly=5 if drips else None) as peer:
        began = time.monotonic()
        outcome = refresh(at_peer(peer, "https"), timeout=BRIEF)
        assert time.monotonic() - began < LATE
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.reason.consumption) == (
        FailureReason.UNREACHABLE,
        Consumption.NOT_SENT,
    )


@pytest.mark.parametrize("path", ["", "/realms/x", "/realms/x/"])
def test_discovery_finds_issuers_with_and_without_a_path(path: str) -> None:
    client = families.RegisteredClient(APP.client_id, APP.client_secret)
    with StrictIssuer(clients=[client], issuer=path) as strict:
        issuer = Issuer("found", issuer=strict.url, internal=True)
        assert isinstance(refresh(issuer, strict.seed("app")), Success)


def described(peer: Peer, **fields: object) -> bytes:
    """Metadata of an issuer that answers token requests with the same JSON, tokens and all."""
    own = {"issuer": f"http://{peer.address}", "token_endpoint": f"http://{peer.address}/t"}
    return http(json.dumps({**json.loads(TOKENS), **own, **fields}).encode())


def discoverable(peer: Peer, **options: Any) -> Issuer:
    return Issuer("meta", issuer=f"http://{peer.address}", internal=True, **options)


OTHER = "http://localhost:1/t"


@pytest.mark.parametrize(
    "fields",
    [
        {"issuer": "http://else.where"},
        {"issuer": None},
        {"token_endpoint": OTHER},
        {"token_endpoint": ""},
        {"token_endpoint": ["http://127.0.0.1/t"]},
        {"token_endpoint": "http://["},
        {"token_endpoint": "ftp://127.0.0.1/t"},
        {"token_endpoint": "http://user:pw@127.0.0.1/t"},
        {"token_endpoint": "http://127.0.0.1/t#fragment"},
    ],
    ids=repr,
)
def test_metadata_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    with Peer(b"") as peer:
        peer.reply = described(peer, **fields)
        outcome = refresh(discoverable(peer))
        assert isinstance(outcome, Failure)
        assert (outcome.reason, outcome.reason.consumption) == (
            FailureReason.METADATA,
            Consumption.NOT_SENT,
        )
        assert len(peer.requests) == 1
        assert RT.reveal() not in peer.requests[0]


def test_the_issuer_is_compared_byte_for_byte() -> None:
    with Peer(b"") as peer:
        peer.reply = described(peer, issuer=f"http://{peer.address}/")
        assert signal(refresh(discoverable(peer))) is FailureReason.METADATA


def test_an_endpoint_on_another_host_is_used_only_if_listed() -> None:
    with Peer(b"") as peer:
        elsewhere = f"http://{peer.address.replace('127.0.0.1', 'localhost')}/t"
        peer.reply = described(peer, token_endpoint=elsewhere)
        assert signal(refresh(discoverable(peer))) is FailureReason.METADATA
        assert isinstance(refresh(discoverable(peer, endpoint_hosts=("localhost",))), Success)
        assert peer.headers()["host"].startswith("localhost:")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (http(b"<html>"), FailureReason.METADATA),
        (http(b"[]"), FailureReason.METADATA),
        (http(b"[" * 100_000), FailureReason.METADATA),
        (http(b"\xff"), FailureReason.METADATA),
        (http(b"", "404 Not Found"), FailureReason.METADATA),
        (http(b"", "302 Found", "Location: http://[\r\n"), FailureReason.METADATA),
        (http(b"", "429 Too Many Requests"), FailureReason.UNREACHABLE),
        (http(b"", "500 Oops"), FailureReason.UNREACHABLE),
        (http(b" " * 2_000_000), FailureReason.UNREACHABLE),
        (http()[:-5], FailureReason.UNREACHABLE),
        (b"", FailureReason.UNREACHABLE),
        (b"\x00\xff garbage\r\n\r\n", FailureReason.UNREACHABLE),
    ],
    ids=range(12),
)
def test_no_failure_of_discovery_is_uncertain(reply: bytes, expected: FailureReason) -> None:
    with Peer(reply) as peer:
        outcome = refresh(discoverable(peer))
        assert isinstance(outcome, Failure)
        assert (outcome.reason, outcome.reason.consumption) == (expected, Consumption.NOT_SENT)
        assert RT.reveal() not in "".join(peer.requests)


def test_dripping_metadata_ends_at_the_deadline() -> None:
    for slowly in (3, 60):
        with Peer(http(b" " * 5000), slowly=slowly) as peer:
            began = time.monotonic()
            assert signal(refresh(discoverable(peer), timeout=BRIEF)) is FailureReason.UNREACHABLE
            assert time.monotonic() - began < LATE


@pytest.mark.parametrize(
    ("offered", "header"),
    [
        (None, True),
        (["client_secret_basic", "client_secret_post"], True),
        (["client_secret_post"], False),
        (["private_key_jwt"], True),
        ("client_secret_post", True),
        ([{}], True),
    ],
    ids=repr,
)
def test_the_method_is_what_metadata_offers(offered: object, *, header: bool) -> None:
    with Peer(b"") as peer:
        name = "token_endpoint_auth_methods_supported"
        peer.reply = described(peer, **({} if offered is None else {name: offered}))
        assert isinstance(refresh(discoverable(peer)), Success)
        assert ("authorization" in peer.headers()) is header
        assert ("client_secret" in peer.form()) is not header


def paths(peer: Peer) -> list[str]:
    return [request.split(" ", 2)[1] for request in peer.requests]


WELL_KNOWN = "/.well-known/openid-configuration"


def test_metadata_is_read_once_and_again_when_the_endpoint_is_in_doubt() -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        good = peer.reply = described(peer)
        for _ in range(2):
            assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        assert paths(peer) == [WELL_KNOWN, "/t", "/t"]
        for doubt in ("404 Not Found", "307 Temporary Redirect"):
            peer.requests.clear()
            peer.reply = http(b"", doubt)
            assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Failure)
            peer.reply = good
            assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
            assert paths(peer) == ["/t", WELL_KNOWN, "/t"]


def test_a_reconfigured_issuer_of_the_same_name_is_discovered_anew() -> None:
    with Peer(b"") as old, Peer(b"") as new:
        old.reply, new.reply = described(old), described(new)
        endpoints = TokenEndpoints()
        assert isinstance(endpoints.refresh(discoverable(old), APP, RT, PATIENT), Success)
        assert isinstance(
            endpoints.refresh(discoverable(new), APP, Sensitive("new"), PATIENT), Success
        )
        assert paths(new) == [WELL_KNOWN, "/t"]
        assert len(old.requests) == 2


def test_a_dead_issuer_is_probed_with_metadata_not_with_a_token() -> None:
    port = free_port()
    client = families.RegisteredClient(APP.client_id, APP.client_secret)
    strict = StrictIssuer(clients=[client], address=("127.0.0.1", port))
    endpoints, issuer = TokenEndpoints(), Issuer("s", issuer=strict.url, internal=True)
    with strict:
        token = strict.seed("app")
        strict.add_faults(StatusReply(403))
        assert signal(endpoints.refresh(issuer, APP, token, PATIENT)) is FailureReason.FORBIDDEN
    assert signal(endpoints.refresh(issuer, APP, token, PATIENT)) is FailureReason.UNREACHABLE
    with Peer(b"") as peer:  # what comes up first is not the token endpoint
        impostor = Issuer("s", issuer=f"http://{peer.address}", internal=True)
        assert signal(endpoints.refresh(impostor, APP, token, PATIENT)) is FailureReason.UNREACHABLE
        assert token.reveal() not in "".join(peer.requests)
    with strict:
        assert isinstance(endpoints.refresh(issuer, APP, token, PATIENT), Success)


def test_a_reply_with_escaped_surrogates_can_be_stored() -> None:
    odd = json.dumps({**json.loads(TOKENS), "odd": "\ud800", "\udfff": 1, "token_type": "\ud800"})
    with Peer(http(odd.encode())) as peer:
        outcome = refresh(at_peer(peer))
    assert isinstance(outcome, Success)
    for text in (outcome.reply.to_json().reveal(), outcome.reply.token_type):
        assert text.encode()
    for unsendable in ("refresh_token", "access_token"):
        lone = json.dumps({"refresh_token": "ok", unsendable: "\ud800"})
        with Peer(http(lone.encode())) as peer:
            outcome = refresh(at_peer(peer))
        assert isinstance(outcome, Success) is (unsendable == "access_token")


def test_the_context_of_a_ca_file_is_made_once_for_each_state_of_the_file(tmp_path: Path) -> None:
    ca_file, _ = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    trust = TlsContexts()
    first = trust.context(str(ca_file))
    assert trust.context(str(ca_file)) is first
    assert trust.context("") is trust.context("")
    assert len(first.get_ca_certs()) == 1
    ca_file.write_bytes(ca_file.read_bytes() + other.read_bytes())
    second = trust.context(str(ca_file))
    assert second is not first
    assert len(second.get_ca_certs()) == 2
    other.replace(ca_file)
    assert len(trust.context(str(ca_file)).get_ca_certs()) == 1


def test_an_exchange_adds_nothing_to_the_context_it_shares(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    with Peer(http(), tls=context) as peer:
        endpoints, issuer = TokenEndpoints(), at_peer(peer, "https", ca_file=str(ca_file))
        for _ in range(3):
            assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        shared = endpoints._tls_contexts.context(str(ca_file))
    assert [len(shared.get_ca_certs()), shared.check_hostname] == [1, True]


def test_many_files_of_authorities_are_not_kept_for_ever(tmp_path: Path) -> None:
    ca_file, _ = certificate(tmp_path)
    trust = TlsContexts()
    for number in range(200):
        copy = tmp_path / f"{number}.pem"
        copy.write_bytes(ca_file.read_bytes())
        trust.context(str(copy))
    assert len(trust._contexts) < 100


@pytest.mark.parametrize("wrong_host", [False, True])
def test_the_host_name_is_verified(tmp_path: Path, *, wrong_host: bool) -> None:
    ca_file, context = certificate(tmp_path)
    with Peer(http(), tls=context) as peer:
        host = peer.address.replace("127.0.0.1", "localhost") if wrong_host else peer.address
        issuer = Issuer("x", token_endpoint=f"https://{host}/t", ca_file=str(ca_file))
        outcome = refresh(issuer)
    assert signal(outcome) is FailureReason.TLS if wrong_host else isinstance(outcome, Success)


def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the server's version is deprecated, which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Peer(http(), tls=context) as peer:
        outcome = refresh(at_peer(peer, "https", ca_file=str(ca_file)))
    assert signal(outcome) is FailureReason.UNREACHABLE
    assert peer.requests == []


def test_tls_secrets_are_not_written_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, context = certificate(tmp_path)
    secrets_file = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(secrets_file))
    with Peer(http(), tls=context) as peer:
        assert isinstance(refresh(at_peer(peer, "https", ca_file=str(ca_file))), Success)
    assert not secrets_file.exists()


def test_every_request_has_a_name_of_its_own_and_nothing_of_the_token_in_it() -> None:
    with Peer(http()) as peer:
        names = []
        for _ in range(3):
            refresh(at_peer(peer))
            names.append(peer.headers()["x-request-id"])
        heads = [request.partition("\r\n\r\n")[0] for request in peer.requests]
    assert len(set(names)) == 3
    assert RT.reveal() not in "".join(heads)


@pytest.mark.parametrize("gone", ["404 Not Found", "405 Method Not Allowed", "410 Gone"])
def test_a_moved_endpoint_is_found_by_the_next_refresh(gone: str) -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        peer.reply = described(peer)
        assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        moved = described(peer, token_endpoint=f"http://{peer.address}/new")
        peer.by_path = {WELL_KNOWN: moved, "/new": http()}
        peer.reply = http(b"", gone)
        assert signal(endpoints.refresh(issuer, APP, RT, PATIENT)) is FailureReason.NO_ENDPOINT
        assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        assert paths(peer) == [WELL_KNOWN, "/t", "/t", WELL_KNOWN, "/new"]


def test_a_request_without_the_scope_needs_no_metadata_of_its_own() -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer, scope="a b")
        peer.reply = described(peer)
        for asked in (issuer, replace(issuer, scope=""), issuer):
            assert isinstance(endpoints.refresh(asked, APP, RT, PATIENT), Success)
        assert paths(peer) == [WELL_KNOWN, "/t", "/t", "/t"]


def introspectable(peer: Peer, **options: Any) -> Issuer:
    return at_peer(peer, introspection_endpoint=f"http://{peer.address}/introspect", **options)


def introspect(
    issuer: Issuer, client: Client = APP, timeout: float = PATIENT, token: Sensitive = RT
) -> bool | None:
    return TokenEndpoints().introspect(issuer, client, token, timeout)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (http(b'{"active":true,"exp":1}'), True),
        (http(b'{"active":false}'), False),
        (http(b'{"active":"false"}'), None),
        (http(b'{"active":null}'), None),
        (http(b"{}"), None),
        (http(b"[]"), None),
        (http(b"[" * 100_000), None),
        (http(b"\xff"), None),
        (http(b'{"active":false}')[:-1], None),
        (http(b'{"active":false}  ')[:-1], None),
        (http(b'{"active":false}', "401 Unauthorized"), None),
        (http(b'{"active":false}', "503 Busy"), None),
        (http(b"", "302 Found", "Location: /\r\n"), None),
        (b"", None),
    ],
    ids=range(14),
)
def test_only_a_plain_answer_says_whether_a_token_is_active(
    reply: bytes, *, expected: bool | None
) -> None:
    with Peer(reply) as peer:
        assert introspect(introspectable(peer)) is expected
        assert paths(peer) == ["/introspect"]
        assert peer.form() == {"token": [RT.reveal()], "token_type_hint": ["refresh_token"]}
        assert peer.headers()["authorization"].startswith("Basic ")


def test_introspection_has_a_deadline_of_its_own() -> None:
    with Peer(http(b'{"active":false}' + b" " * 5000), slowly=3) as peer:
        began = time.monotonic()
        assert introspect(introspectable(peer), timeout=BRIEF) is None
        assert time.monotonic() - began < LATE


def test_a_public_client_does_not_introspect() -> None:
    with Peer(http(b'{"active":false}')) as peer:
        assert introspect(introspectable(peer), PUBLIC) is None
        assert peer.connections == 0


def test_without_an_introspection_endpoint_nothing_is_asked() -> None:
    with Peer(http(b'{"active":false}')) as peer:
        assert introspect(at_peer(peer)) is None
        assert peer.connections == 0


def test_the_introspection_endpoint_is_discovered() -> None:
    with Peer(b"") as peer:
        endpoint = f"http://{peer.address}/introspect"
        peer.by_path = {
            WELL_KNOWN: described(peer, introspection_endpoint=endpoint),
            "/introspect": http(b'{"active":true}'),
        }
        assert introspect(discoverable(peer)) is True
        assert paths(peer) == [WELL_KNOWN, "/introspect"]


@pytest.mark.parametrize(
    "endpoint", ["http://localhost:1/i", "ftp://127.0.0.1/i", "", ["http://127.0.0.1/i"]], ids=repr
)
def test_an_unfit_introspection_endpoint_is_not_asked_and_spoils_nothing(endpoint: object) -> None:
    with Peer(b"") as peer:
        peer.reply = described(peer, introspection_endpoint=endpoint)
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        assert endpoints.introspect(issuer, APP, RT, PATIENT) is None
        assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        assert paths(peer) == [WELL_KNOWN, "/t"]


@pytest.mark.parametrize("listed", [False, True])
def test_introspection_on_another_host_needs_to_be_listed(*, listed: bool) -> None:
    with Peer(http(b'{"active":true}')) as peer:
        elsewhere = f"http://{peer.address.replace('127.0.0.1', 'localhost')}/i"
        peer.by_path = {WELL_KNOWN: described(peer, introspection_endpoint=elsewhere)}
        issuer = discoverable(peer, endpoint_hosts=("localhost",) if listed else ())
        assert introspect(issuer) is (True if listed else None)
        assert paths(peer) == [WELL_KNOWN, *(["/i"] if listed else [])]


def test_introspection_of_a_dead_issuer_says_nothing() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert introspect(Issuer("x", issuer=url, internal=True)) is None


@pytest.mark.parametrize(
    ("replies", "alive"),
    [
        ({WELL_KNOWN: http(b"{}")}, True),
        ({WELL_KNOWN: http(b"", "500 Oops"), "/t": http(b"", "405 No")}, True),
        ({WELL_KNOWN: http(b"", "500 Oops"), "/t": http(b"", "502 Bad Gateway")}, False),
        ({WELL_KNOWN: b""}, False),
    ],
    ids=["unfit metadata", "no metadata, but an endpoint", "a gateway before nobody", "silence"],
)
def test_a_probe_looks_for_a_sign_of_life(replies: Mapping[str, bytes], *, alive: bool) -> None:
    with Peer(b"") as peer:
        endpoints, issuer = TokenEndpoints(), discoverable(peer)
        peer.reply = described(peer)
        assert endpoints.probe(issuer)
        assert isinstance(endpoints.refresh(issuer, APP, RT, PATIENT), Success)
        peer.requests.clear()
        peer.reply, peer.by_path = b"", dict(replies)
        assert endpoints.probe(issuer) is alive
        assert RT.reveal() not in "".join(peer.requests)
        assert all(request.startswith("GET ") for request in peer.requests)


def test_a_probe_of_a_configured_endpoint_asks_that() -> None:
    with Peer(http(b"", "405 Method Not Allowed")) as peer:
        assert TokenEndpoints().probe(at_peer(peer))
        assert [request.split(" ", 2)[:2] for request in peer.requests] == [["GET", "/token"]]
    assert not TokenEndpoints().probe(at_peer(peer))


def test_a_server_whose_certificate_is_not_trusted_is_alive(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    with Peer(http(), tls=context) as peer:
        assert TokenEndpoints().probe(at_peer(peer, "https"))


def test_what_is_to_be_sent_is_not_shown() -> None:
    request = HttpRequest(
        "POST", "u", {"refresh_token": RT.reveal()}, {"Authorization": RT.reveal()}
    )
    assert RT.reveal() not in repr(request)
