"""The admission server over real TLS on loopback, and peers that are slow, rude or many."""

import contextlib
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.x509 import CertificateFactory
from csidriver.webhook.http_handler import HttpLimits
from csidriver.webhook.https_server import AdmissionServer
from csidriver.webhook.metrics import Result, WebhookMetrics
from csidriver.webhook.review_handler import Handler, ReviewResponse, handle_review
from csidriver.webhook.webhook import Webhook
from tests.core.admission.pods import ENTRY, pod_with
from tests.core.admission.reviews import review_of
from tests.refresher.bench import until

HOST = "hook.ns.svc"
GOOD = json.dumps(review_of(pod_with(ENTRY))).encode()
KIND = {"Content-Type": "application/json"}
BRIEF = HttpLimits(handshake=0.3, request=0.5, idle=0.7, discard=0.3)
PATIENCE = 20


class Served:
    """A server with a certificate of its own authority."""

    def __init__(self, limits: HttpLimits, reply: Handler = handle_review) -> None:
        self._pki = CertificateFactory()
        self._authority = self._pki.new_authority(time.time(), 3600.0)
        self.certificate = ""
        self.context: ssl.SSLContext | None = None
        self.renew()
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        address = ("127.0.0.1", 0)
        self.server = AdmissionServer(address, lambda: self.context, reply, metrics, limits)
        self.server.start()

    def renew(self) -> None:
        made, key = self._pki.issue_serving_certificate(
            *self._authority, [HOST], time.time(), 3600.0
        )
        self.certificate, self.context = made.pem, self._pki.server_context(made.pem, key)

    def connect(self) -> socket.socket:
        """A connection without a handshake."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)

    def secure(self, **options: Any) -> ssl.SSLSocket:
        trust = ssl.create_default_context(cadata=self._authority[0].pem)
        for name, value in options.items():
            setattr(trust, name, value)
        trust.set_alpn_protocols(["h2", "http/1.1"])
        return trust.wrap_socket(self.connect(), server_hostname=HOST)

    def client(self) -> "Client":
        return Client(self.secure())

    @property
    def connections(self) -> float | None:
        return self.registry.get_sample_value("oauth2_csi_webhook_connections")

    def counted(self, result: Result) -> float | None:
        labels = {"result": result.value}
        return self.registry.get_sample_value("oauth2_csi_webhook_admissions_total", labels)


class Client(http.client.HTTPConnection):
    """A client on a connection that is there already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(HOST)
        self.sock = connected
        self.auto_open = 0

    def post(self, body: bytes = GOOD, path: str = "/mutate", **headers: str) -> tuple[int, Any]:
        self.request("POST", path, body, {**KIND, **headers})
        return self.told()

    def told(self) -> tuple[int, Any]:
        with self.getresponse() as response:
            return response.status, json.loads(response.read())


@contextlib.contextmanager
def serving(limits: HttpLimits | None = None, reply: Handler = handle_review) -> Iterator[Served]:
    served = Served(limits or HttpLimits(), reply)
    try:
        yield served
    finally:
        served.server.stop()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


def is_closed(connected: socket.socket) -> bool:
    """Whether the peer ends it; waits for that."""
    try:
        return connected.recv(65536) == b""
    except OSError:
        return True


def test_many_requests_go_over_one_connection(served: Served) -> None:
    with contextlib.closing(served.client()) as client:
        for _ in range(20):
            status, told = client.post(path="/mutate?timeout=5s")
            assert (status, told["response"]["allowed"]) == (200, True)
        assert served.connections == 1
    until(lambda: served.counted(Result.INJECTED) == 20)
    until(lambda: served.connections == 0)


def test_http_1_1_and_tls_1_2_or_later_are_spoken(served: Served) -> None:
    with served.secure() as connected:
        assert (connected.version(), connected.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    with served.secure(maximum_version=ssl.TLSVersion.TLSv1_2) as connected:
        assert connected.version() == "TLSv1.2"
        assert Client(connected).post()[0] == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_an_older_tls_is_refused(served: Served) -> None:
    old = {"minimum_version": ssl.TLSVersion.TLSv1_1, "maximum_version": ssl.TLSVersion.TLSv1_1}
    with pytest.raises(ssl.SSLError):
        served.secure(**old)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/mutate", {}, 405, id="GET"),
        pytest.param("PUT", "/mutate", KIND, 405, id="PUT"),
        pytest.param("BREW", "/mutate", KIND, 405, id="no method"),
        pytest.param("POST", "/", KIND, 404, id="root"),
        pytest.param("POST", "/mutate/", KIND, 404, id="below"),
        pytest.param("POST", "/mutate", {}, 415, id="no type"),
        pytest.param("POST", "/mutate", {"Content-Type": "text/plain"}, 415, id="text"),
        pytest.param(
            "POST", "/mutate", KIND | {"Content-Type": "application/yaml"}, 415, id="yaml"
        ),
    ],
)
def test_anything_else_is_refused_in_json(
    served: Served, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    with contextlib.closing(served.client()) as client:
        client.request(method, path, GOOD, headers)
        got, told = client.told()
        assert (got, told["code"], told["kind"]) == (status, status, "Status")
        assert told["message"].startswith("oauth2-csi webhook: ")
    until(lambda: served.counted(Result.REFUSED) == 1)


HEAD = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param(HEAD + b"\r\n", 411, id="no length"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411, id="chunks"
        ),
        pytest.param(
            HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 411, id="both"
        ),
        pytest.param(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, id="two"),
        pytest.param(HEAD + b"Content-Length: +2\r\n\r\n{}", 400, id="sign"),
        pytest.param(HEAD + b"Content-Length: -2\r\n\r\n{}", 400, id="negative"),
        pytest.param(HEAD + b"Content-Length: 0x2\r\n\r\n{}", 400, id="hexadecimal"),
        pytest.param(HEAD + b"Content-Length: 99999999999999\r\n\r\n", 413, id="far too long"),
        pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", 400, id="empty"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"POST /mutate HTTP/2.0\r\n\r\n", 505, id="version"),
        pytest.param(HEAD + b"X: y\r\n" * 200 + b"\r\n", 431, id="many headers"),
        pytest.param(HEAD + b"X: " + b"y" * 70_000, 431, id="long header"),
        pytest.param(b"POST /" + b"a" * 70_000, 431, id="long line"),
    ],
)
def test_bad_http_gets_a_status_and_no_more(served: Served, text: bytes, status: int) -> None:
    with served.secure() as connected:
        connected.sendall(text)
        got, told = told_on(connected)
        assert (got, told["code"]) == (status, status)


def test_a_body_that_is_too_long_is_refused_although_it_was_sent(served: Served) -> None:
    with contextlib.closing(served.client()) as client:
        status, _ = client.post(b" " * (HttpLimits().body + 1))
        assert status == 413


def test_a_long_body_is_taken(served: Served) -> None:
    pod = pod_with(ENTRY)
    pod["metadata"]["annotations"]["long"] = "x" * (3 << 20)
    with contextlib.closing(served.client()) as client:
        status, told = client.post(json.dumps(review_of(pod)).encode())
        assert (status, told["response"]["allowed"]) == (200, True)


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    with served.secure() as connected:
        length = f"Content-Length: {len(GOOD)}\r\nExpect: 100-continue\r\n\r\n"
        connected.sendall(HEAD + length.encode())
        assert connected.recv(100).startswith(b"HTTP/1.1 100 ")
        connected.sendall(GOOD)
        assert told_on(connected)[0] == 200


def test_pipelined_requests_are_answered_in_turn(served: Served) -> None:
    with served.secure() as connected:
        one = HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        connected.sendall(one + one)
        told = b""
        while told.count(b"HTTP/1.1 200 ") < 2:
            chunk = connected.recv(65536)
            assert chunk
            told += chunk


def told_on(connected: socket.socket) -> tuple[int, Any]:
    """The answer to what was sent by hand."""
    with http.client.HTTPResponse(connected, method="POST") as response:
        response.begin()
        return response.status, json.loads(response.read())


def test_a_body_that_ends_too_early_is_nobodys_request(served: Served) -> None:
    with served.secure() as connected:
        connected.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        with contextlib.suppress(OSError):
            connected.unwrap()
        until(lambda: served.connections == 0)
    assert served.counted(Result.REFUSED) == 0


def is_refused(connected: socket.socket, text: bytes) -> bool:
    """Whether nobody takes another byte."""
    try:
        connected.sendall(text)
    except OSError:
        return True
    return False


def _silence(served: Served) -> socket.socket:
    return served.connect()


def _half_a_handshake(served: Served) -> socket.socket:
    connected = served.connect()
    connected.sendall(b"\x16\x03\x01\x02\x00\x01")
    return connected


def _no_tls(served: Served) -> socket.socket:
    connected = served.connect()
    connected.sendall(b"GET / HTTP/1.1\r\n\r\n")
    return connected


def _no_request(served: Served) -> socket.socket:
    return served.secure()


def _half_a_head(served: Served) -> socket.socket:
    connected = served.secure()
    connected.sendall(HEAD)
    return connected


def _half_a_body(served: Served) -> socket.socket:
    connected = served.secure()
    connected.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    return connected


@pytest.mark.parametrize(
    "begin", [_silence, _half_a_handshake, _no_tls, _no_request, _half_a_head, _half_a_body]
)
def test_a_peer_that_stops_talking_is_let_go_and_keeps_out_nobody(
    begin: Callable[[Served], socket.socket],
) -> None:
    with serving(BRIEF) as served, begin(served) as connected:
        with contextlib.closing(served.client()) as client:
            assert client.post()[0] == 200
        assert is_closed(connected)
        until(lambda: served.connections == 0)


@pytest.mark.parametrize(
    "part", [HEAD, HEAD + b"Content-Length: 5000\r\n\r\n"], ids=["head", "body"]
)
def test_a_peer_that_drips_does_not_gain_time_with_each_byte(part: bytes) -> None:
    with serving(BRIEF) as served, served.secure() as connected:
        connected.sendall(part)
        until(lambda: is_refused(connected, b"x"))
        until(lambda: served.connections == 0)


def test_when_all_places_are_taken_who_was_idle_longest_makes_room() -> None:
    with serving(HttpLimits(connections=3)) as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(served.client())) for _ in range(3)]
        for client in (clients[1], clients[0], clients[2]):
            assert client.post()[0] == 200
        assert stack.enter_context(contextlib.closing(served.client())).post()[0] == 200
        assert is_closed(clients[1].sock)
        assert clients[0].post()[0] == clients[2].post()[0] == 200


def test_when_all_are_slow_who_was_slow_longest_makes_room() -> None:
    with (
        serving(HttpLimits(connections=3, max_wait=0.3)) as served,
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(_half_a_head(served)) for _ in range(3)]
        assert stack.enter_context(contextlib.closing(served.client())).post()[0] == 200
        assert is_closed(slow[0])


class Held:
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Semaphore(0)

    def __call__(self, body: bytes) -> ReviewResponse:
        self.asked.release()
        assert self.go.wait(PATIENCE)
        return handle_review(body)


def test_who_is_being_answered_is_never_cut() -> None:
    held = Held()
    limits = HttpLimits(connections=1, max_wait=0.01)
    with serving(limits, held) as served, contextlib.closing(served.client()) as client:
        client.request("POST", "/mutate", GOOD, KIND)
        assert held.asked.acquire(timeout=PATIENCE)
        with served.connect() as waiting:
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
        held.go.set()
        assert client.told()[0] == 200


def test_only_so_many_long_bodies_are_read_at_a_time() -> None:
    limits = HttpLimits(large_body_threshold=1000, large_bodies=1, request=0.5)
    long = GOOD + b" " * 2000
    with serving(limits) as served, contextlib.ExitStack() as stack:
        first, second, third = [
            stack.enter_context(contextlib.closing(served.client())) for _ in range(3)
        ]
        with served.server._shared.large_bodies:  # as by somebody who is slow
            assert first.post()[0] == 200
            second.request("POST", "/mutate", long, KIND)
            with second.getresponse() as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert [third.post(long)[0] for _ in range(3)] == [200, 200, 200]


class Alone:
    """Knows how many answers are being made at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0

    def __call__(self, body: bytes) -> ReviewResponse:
        self._now += 1
        self.most = max(self.most, self._now)
        threading.Event().wait(0.001)  # lets others in, if anything does
        reply = handle_review(body)
        self._now -= 1
        return reply


def test_one_answer_is_made_at_a_time() -> None:
    alone = Alone()
    with serving(reply=alone) as served:

        def ask() -> None:
            with contextlib.closing(served.client()) as client:
                for _ in range(20):
                    assert client.post()[0] == 200

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(ask) for _ in range(4)]:
                done.result(PATIENCE)
    assert alone.most == 1


def test_another_certificate_is_for_the_next_connection(served: Served) -> None:
    def shown(connected: ssl.SSLSocket) -> str:
        return ssl.DER_cert_to_PEM_cert(connected.getpeercert(binary_form=True) or b"")

    with served.secure() as before:
        first = served.certificate
        served.renew()
        with served.secure() as after:
            assert shown(before).split() == first.split()
            assert shown(after).split() == served.certificate.split()
        assert Client(before).post()[0] == 200


def test_without_a_certificate_connections_are_closed(served: Served) -> None:
    context, served.context = served.context, None
    with served.connect() as connected:
        assert is_closed(connected)
    served.context = context
    with contextlib.closing(served.client()) as client:
        assert client.post()[0] == 200


def test_a_stop_finishes_what_is_being_answered_and_lets_the_idle_go() -> None:
    held = Held()
    with serving(reply=held) as served, contextlib.ExitStack() as stack:
        busy, idle = [stack.enter_context(contextlib.closing(served.client())) for _ in range(2)]
        busy.request("POST", "/mutate", GOOD, KIND)
        assert held.asked.acquire(timeout=PATIENCE)
        stopping = threading.Thread(target=served.server.stop)
        stopping.start()
        assert is_closed(idle.sock)
        held.go.set()
        assert busy.told()[0] == 200
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
        assert served.connections == 0
        with pytest.raises(ConnectionRefusedError):
            served.connect()


def test_requests_that_have_begun_when_it_stops_are_answered() -> None:
    for _ in range(10):
        with serving() as served, contextlib.ExitStack() as stack:
            whole, half = [stack.enter_context(served.secure()) for _ in range(2)]
            length = HEAD + f"Content-Length: {len(GOOD)}\r\n\r\n".encode()
            clients = [Client(whole), Client(half)]
            assert [client.post()[0] for client in clients] == [200, 200]
            half.sendall(length + GOOD[:10])
            whole.sendall(length + GOOD)
            stopping = threading.Thread(target=served.server.stop)
            stopping.start()
            assert told_on(whole)[0] == 200
            half.sendall(GOOD[10:])
            assert told_on(half)[0] == 200
            stopping.join(PATIENCE)


def test_who_leaves_sends_clients_elsewhere_with_each_answer(served: Served) -> None:
    with served.secure() as connected:
        client = Client(connected)
        assert client.post()[0] == 200
        served.server.drain()
        client.request("POST", "/mutate", GOOD, KIND)
        with client.getresponse() as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")
        assert is_closed(connected)


def test_the_role_is_not_ready_before_it_ends() -> None:
    class Given:
        def context(self) -> ssl.SSLContext | None:
            return None

        def problems(self) -> list[str]:
            return []

        def run(self, stop: threading.Event) -> None:
            stop.wait(PATIENCE)

    served = Served(HttpLimits())
    served.server.stop()
    fresh = AdmissionServer(
        ("127.0.0.1", 0), lambda: None, handle_review, WebhookMetrics(CollectorRegistry())
    )
    role, stop = Webhook(Given(), fresh, drain=0.5), threading.Event()
    assert role.alive() != []
    thread = threading.Thread(target=role.run, args=(stop,))
    thread.start()
    until(lambda: role.alive() == [])
    assert role.ready() == []
    stop.set()
    assert until(role.ready) == ["the webhook is shutting down"]
    assert role.alive() == [], "it goes on for a while"
    thread.join(PATIENCE)
    assert role.alive() != []


def test_a_defect_in_a_connection_is_logged_without_its_bytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: bytes) -> ReviewResponse:
        raise ZeroDivisionError

    with serving(reply=broken) as served, contextlib.closing(served.client()) as client:
        client.request("POST", "/mutate", b'{"planted": 1}', KIND)
        assert is_closed(client.sock)
        until(lambda: served.connections == 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "planted" not in caplog.text


def test_nothing_of_a_request_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), contextlib.closing(served.client()) as client:
        client.post(b'{"planted": 1}', "/mutate?planted", X="planted")
        with served.secure() as connected:
            connected.sendall(b"planted\r\n\r\n")
            assert told_on(connected)[0] == HTTPStatus.BAD_REQUEST
    assert caplog.records == []
