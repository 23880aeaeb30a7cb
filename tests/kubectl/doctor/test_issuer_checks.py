import datetime as dt
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.kubectl.doctor.finding import Finding, Level
from csidriver.kubectl.doctor.issuer_checks import check_issuer
from csidriver.kubectl.login.https_request import HttpsClient
from tests.adapters.oauth.peer import WELL_KNOWN, Peer, free_port, http
from tests.kubectl.doctor.healthy import HttpsIssuer, date, metadata
from tests.kubectl.printed import NOW

LOGIN = LoginSettings("oauth2-csi")
OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM


def check(server: HttpsIssuer, namespace: str = "team-a", **fields: Any) -> dict[str, Finding]:
    values: dict[str, Any] = {"name": "cern", "issuer": server.url, "login": LOGIN} | fields
    return by_name(HttpsClient(str(server.ca_file), 10.0), Issuer(**values), namespace)


def by_name(https: HttpsClient, issuer: Issuer, namespace: str = "") -> dict[str, Finding]:
    findings = list(check_issuer(https, issuer, namespace))
    found = {finding.check: finding for finding in findings}
    assert len(found) == len(findings)
    return found


def levels(found: Mapping[str, Finding]) -> dict[str, Level]:
    return {name: each.level for name, each in found.items() if each.level is not OK}


pytestmark = pytest.mark.usefixtures("fixed_time")


def test_no_client_is_a_warning(server: HttpsIssuer) -> None:
    texts = {"cern": "users must bring their own client", "": "this cluster publishes no issuer"}
    for name, text in texts.items():
        found = check(server, name=name, login=None)
        assert levels(found) == {"client": WARNING}
        assert text in found["client"].message
    assert "client" not in check(server, "", name="", login=None)


def test_an_issuer_is_open_to_its_namespaces_and_has_an_address(server: HttpsIssuer) -> None:
    bare = check(server, issuer="", token_endpoint=f"{server.url}/token")
    assert levels(bare) == {"metadata": WARNING}
    assert levels(check(server, "a", namespaces=("b",))) == {"namespace": WARNING}
    assert levels(check(server, "b", namespaces=("b",))) == {}
    assert levels(check(server, "", namespaces=("b",))) == {}


def test_a_server_that_is_not_there_is_a_problem() -> None:
    url = f"https://127.0.0.1:{free_port()}"
    found = by_name(HttpsClient(timeout=10.0), Issuer("i", url, login=LOGIN))
    assert levels(found) == {"metadata": PROBLEM}
    assert found["metadata"].cure == f"run: curl -sSv {url}{WELL_KNOWN}"


def test_no_metadata_is_a_problem(server: HttpsIssuer) -> None:
    texts = {"404 Not Found": "there is no metadata", "200 OK": "is not a JSON object"}
    for status, text in texts.items():
        server.by_path[WELL_KNOWN] = http(b"<html>", status, f"Date: {date(NOW)}\r\n")
        found = check(server)
        assert levels(found) == {"metadata": PROBLEM}
        assert text in found["metadata"].message


def test_a_slash_too_many_is_a_problem(server: HttpsIssuer) -> None:
    server.answer(issuer=f"{server.url}/")
    cures = {"cern": "the operator sets issuer:", "": "run: kubectl oauth2-csi doctor --issuer-url"}
    for name, cure in cures.items():
        found = check(server, name=name)["name"]
        assert found.level is PROBLEM
        assert "the slash at the end counts" in found.message
        assert found.cure == f"{cure} {server.url}/"


NO_CODE, NO_WEB = {"device_authorization_endpoint": None}, {"authorization_endpoint": None}


@pytest.mark.parametrize(
    ("name", "change", "settings", "level", "text"),
    [
        ("name", {"issuer": "https://other.example"}, {}, PROBLEM, "is of 'https://other.example'"),
        ("name", {"issuer": "\x1b]0;x"}, {}, PROBLEM, "is of '\\x1b]0;x'"),
        ("endpoints", {"token_endpoint": "https://b.example"}, {}, PROBLEM, "endpointHosts"),
        ("endpoints", {"token_endpoint": None}, {}, PROBLEM, "token_endpoint is missing"),
        ("login", {}, {}, OK, "log in by code (--device) and by browser (--web)"),
        ("login", NO_CODE, {"device_flow": True}, WARNING, "deviceFlow is true, but"),
        ("login", NO_WEB, {"device_flow": False}, WARNING, "deviceFlow is false, but"),
        ("login", NO_CODE | NO_WEB, {}, PROBLEM, "nobody can log in"),
    ],
)
def test_what_the_metadata_says_counts(
    server: HttpsIssuer,
    name: str,
    change: dict[str, Any],
    settings: dict[str, Any],
    level: Level,
    text: str,
) -> None:
    server.answer(**change)
    found = check(server, login=LoginSettings("cli", **settings))
    assert found[name].level is level
    assert text in found[name].message
    assert "\x1b" not in found[name].message + found[name].cure


def test_a_certificate_of_an_unknown_ca_is_a_problem(server: HttpsIssuer) -> None:
    found = by_name(HttpsClient(timeout=10.0), Issuer("i", server.url, login=LOGIN))
    assert levels(found) == {"certificate": PROBLEM}
    assert "is not trusted on this machine" in found["certificate"].message
    assert found["certificate"].cure.startswith(f"run: openssl s_client -connect {server.address} ")


@pytest.mark.parametrize(("start", "days", "level"), [(-350, 13, WARNING), (-2, 4, OK)])
def test_a_certificate_that_expires_soon_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int, days: int, level: Level
) -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    monkeypatch.setattr(time, "time", lambda: now)
    validity = {"start": dt.timedelta(days=start), "end": dt.timedelta(days=days)}
    with HttpsIssuer(tmp_path, **validity) as server:
        server.answer(headers="")
        found = check(server)["certificate"]
    assert found.level is level
    assert ("openssl x509" in found.cure) == (level is WARNING)


@pytest.mark.parametrize(
    ("headers", "level", "text"),
    [
        (f"Date: {date(NOW - 5)}\r\n", OK, "agree"),
        (f"Date: {date(NOW - 20)}\r\n", WARNING, "20s fast"),
        (f"Date: {date(NOW + 4000)}\r\n", PROBLEM, "66m slow"),
        (f"Date: {date(NOW - 900)}\r\nAge: 900\r\n", OK, "agree"),
        ("Date: today\r\n", OK, "does not say"),
    ],
)
def test_clocks_are_compared(server: HttpsIssuer, headers: str, level: Level, text: str) -> None:
    server.answer(headers=headers)
    found = check(server)["clock"]
    assert found.level is level
    assert text in found.message
    assert ("timedatectl" in found.cure) == (level is not OK)


def test_an_internal_issuer_may_be_without_tls() -> None:
    with Peer(b"") as server:
        url = f"http://{server.address}"
        server.reply = http(json.dumps(metadata(url)).encode())
        found = by_name(HttpsClient(), Issuer("i", url, internal=True, login=LOGIN))
    assert levels(found) == {}
    assert "without TLS" in found["certificate"].message
