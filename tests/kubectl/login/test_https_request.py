import base64
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.https_request import (
    HttpsClient,
    HttpsRequest,
    NoAnswer,
    UntrustedCertificate,
)
from tests.adapters.oauth.peer import Peer, certificate, free_port, http
from tests.leak_detection import LogCollector


def test_a_form_is_posted_and_the_answer_is_returned() -> None:
    with Peer(http(b'{"a":1}', "400 Bad Request")) as server:
        response = HttpsClient().send(HttpsRequest(f"http://{server.address}/t?x=1", {"a": "b c"}))
    assert (response.status, response.body.reveal()) == (400, '{"a":1}')
    assert server.requests[0].startswith("POST /t?x=1 HTTP/1.1\r\n")
    assert server.form() == {"a": ["b c"]}
    assert server.headers()["accept"] == "application/json"


def test_redirects_are_not_followed() -> None:
    with Peer(b"") as server:
        server.reply = http(b"", "307 Temporary", f"Location: http://{server.address}/planted\r\n")
        with pytest.raises(LoginFailed, match="redirects to another address") as failure:
            HttpsClient().send(HttpsRequest(f"http://{server.address}/t", {"a": "b"}))
    assert len(server.requests) == 1
    assert "planted" not in str(failure.value)


def test_an_endless_answer_does_not_hold_the_login() -> None:
    with Peer(http(b"x" * ((1 << 20) + 1))) as server:
        request = HttpsRequest(f"http://{server.address}/t")
        with pytest.raises(LoginFailed, match="larger than 1 MiB"):
            HttpsClient().send(request)
        server.slowly = 0
        with pytest.raises(NoAnswer):
            HttpsClient(timeout=0.3).send(request)


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_half_an_answer_is_none(logs: LogCollector, reply: bytes) -> None:
    with Peer(reply) as server:
        request = HttpsRequest(f"http://{server.address}/t", {"a": "planted"}, {"b": "planted"})
        with pytest.raises(NoAnswer) as failure:
            HttpsClient().send(request)
    assert str(failure.value) == f"{server.address} cannot be reached, or does not answer"
    assert "planted" not in repr(request) + "".join(logs.lines)


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    with Peer(http(b"{}"), tls=context) as server:
        url = f"https://{server.address}/t"
        with pytest.raises(LoginFailed, match=r"is not trusted on this machine; .* --ca-file"):
            HttpsClient().send(HttpsRequest(url))
        assert HttpsClient(str(ca_file)).send(HttpsRequest(url)).status == 200
    with pytest.raises(LoginFailed, match="nowhere cannot be read, or has no certificate"):
        HttpsClient("/nowhere")


def test_a_certificate_must_be_right(tmp_path: Path) -> None:
    minute = dt.timedelta(minutes=1)
    faults: dict[str, dict[str, Any]] = {
        "has expired": {"end": -minute},
        "is not valid yet": {"start": minute, "end": 9 * minute},
        "is of a server of another address": {"address": "127.0.0.2"},
    }
    for text, validity in faults.items():
        ca_file, context = certificate(tmp_path, **validity)
        with Peer(http(b"{}"), tls=context) as server:
            request = HttpsRequest(f"https://{server.address}/t")
            with pytest.raises(UntrustedCertificate, match=text):
                HttpsClient(str(ca_file)).send(request)


def test_tls_secrets_are_not_written_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    ca_file, context = certificate(tmp_path)
    with Peer(http(b"{}"), tls=context) as server:
        HttpsClient(str(ca_file)).send(HttpsRequest(f"https://{server.address}/t"))
    assert not (tmp_path / "keys").exists()


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(http(b"{}")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://us%40er:pw@{proxy.address}")
        HttpsClient().send(HttpsRequest("http://as.invalid/t?x=1"))
    assert proxy.requests[0].startswith("GET http://as.invalid/t?x=1 HTTP/1.1\r\n")
    credentials = base64.b64encode(b"us@er:pw").decode()
    assert proxy.headers()["proxy-authorization"] == f"Basic {credentials}"


def test_a_tunnel_is_asked_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://us:pw@{proxy.address}")
        with pytest.raises(NoAnswer, match="through the proxy of the environment"):
            HttpsClient().send(HttpsRequest("https://as.invalid/t?planted", {"a": "planted"}))
    assert proxy.requests[0].startswith("CONNECT as.invalid:443 ")
    assert "planted" not in proxy.requests[0]


def test_this_machine_and_exceptions_of_the_environment_need_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with Peer(http(b"{}")) as server:
        assert HttpsClient().send(HttpsRequest(f"http://{server.address}/t")).status == 200
    monkeypatch.setenv("no_proxy", "as.invalid")
    with pytest.raises(NoAnswer, match=r"^as\.invalid cannot be reached, or"):
        HttpsClient(timeout=5.0).send(HttpsRequest("http://as.invalid/t"))


@pytest.mark.parametrize("kind", ["socks5://us:planted@proxy.example", "http://us:planted@a:port"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("https_proxy", kind)
    with pytest.raises(LoginFailed, match="is not an http:// address") as failure:
        HttpsClient().send(HttpsRequest("https://as.invalid/t"))
    assert "planted" not in str(failure.value)
