"""An issuer, as this machine reaches it. Only its metadata is asked for, and nothing presented."""

import shlex
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from csidriver.core.oauth.discovery import MetadataError, metadata_urls, parse_metadata
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.json_object import json_object
from csidriver.core.quoting import quote_untrusted
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.doctor.finding import Finding, ok, problem, warning
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.https_request import HttpsClient, HttpsResponse, UntrustedCertificate
from csidriver.kubectl.login.issuer_metadata import LoginEndpoints, parse_login_metadata
from csidriver.kubectl.login.oauth_client import fetch_metadata
from csidriver.kubectl.login.server_text import is_web_address
from csidriver.kubectl.output.ages import human_duration

_DAY = 86400.0
# The last days of a certificate, or the last quarter of one that lives for weeks only.
_LAST_DAYS = 14 * _DAY
# Seconds between two clocks: servers refuse new tokens as not valid yet, and then nothing works.
_NOTICEABLE, _TOO_MUCH = 10.0, 300.0
_SET_CLOCK = "run: timedatectl set-ntp true"
_CONFIGURE_LOGIN = "the operator adds it to the issuer, as login: {clientID: ...}"


def check_issuer(https: HttpsClient, issuer: Issuer, namespace: str) -> Iterator[Finding]:
    """Yield all that one request for the metadata tells; without a namespace no cluster answers."""
    if issuer.name or namespace:
        yield _client(issuer)
    if namespace and not issuer.is_open_to(namespace):
        text = f"the issuer is not open to namespace {namespace}"
        yield warning("namespace", text, f"open are: {', '.join(issuer.namespaces)}")
    if not issuer.issuer:
        yield warning(
            "metadata",
            "the issuer is configured without its address, so nobody can log in from here",
            "the operator sets `issuer` beside `tokenEndpoint`, if there is one with metadata",
        )
        return
    try:
        response = fetch_metadata(https, issuer)
    except UntrustedCertificate as error:
        yield problem("certificate", str(error), f"run: {_certificate_command(issuer)}")
        return
    except LoginFailed as error:
        url = shlex.quote(metadata_urls(issuer)[0])
        yield problem("metadata", str(error), f"run: curl -sSv {url}")
        return
    yield from _metadata(issuer, response.body)
    yield _certificate(issuer, response, time.time())
    yield _clock(response, time.time())


def _client(issuer: Issuer) -> Finding:
    if not issuer.name:
        return warning(
            "client",
            "this cluster publishes no issuer of this address, so the driver refreshes no token "
            "of it",
            "the operator adds the issuer to the driver's configuration",
        )
    if issuer.login is None:
        text = "users must bring their own client, with --client-id: the issuer has no public one"
        return warning("client", text, _CONFIGURE_LOGIN)
    return ok("client", f"users log in with the public client {issuer.login.client_id}")


def _metadata(issuer: Issuer, body: Sensitive) -> Iterator[Finding]:
    metadata = json_object(body)
    if metadata is None:
        url = shlex.quote(metadata_urls(issuer)[0])
        yield problem("metadata", "the metadata is not a JSON object", f"run: curl -sS {url}")
        return
    yield ok("metadata", f"{issuer.issuer} answers")
    if metadata.get("issuer") != issuer.issuer:
        yield _other_name(issuer, metadata.get("issuer"))
        return
    yield ok("name", "the metadata is of the issuer that is configured")
    if not issuer.token_endpoint:
        yield _token_endpoint(issuer, body)
    yield _login_pages(issuer, body)


def _other_name(issuer: Issuer, found: Any) -> Finding:
    text = f"the configured issuer is {quote_untrusted(issuer.issuer)}, but its metadata "
    if not isinstance(found, str):
        return problem("name", f"{text}names none")
    text += f"is of {quote_untrusted(found)}"
    if found.rstrip("/") == issuer.issuer.rstrip("/"):
        text += "; the slash at the end counts"
    if not is_web_address(found, allow_http=issuer.internal):
        return problem("name", text)
    own = f"run: kubectl oauth2-csi doctor --issuer-url {shlex.quote(found)}"
    return problem("name", text, f"the operator sets issuer: {found}" if issuer.name else own)


def _token_endpoint(issuer: Issuer, body: Sensitive) -> Finding:
    try:
        parse_metadata(issuer, body)
    except MetadataError as error:
        return problem("endpoints", f"the driver does not use the metadata: {error}")
    return ok("endpoints", "the driver may use the endpoints that the metadata names")


def _login_pages(issuer: Issuer, body: Sensitive) -> Finding:
    try:
        endpoints = parse_login_metadata(issuer, body)
    except LoginFailed as error:
        return problem("login", str(error))
    return _login_ways(issuer, endpoints)


def _login_ways(issuer: Issuer, endpoints: LoginEndpoints) -> Finding:
    wished = issuer.login.device_flow if issuer.login else None
    has_code, has_web = bool(endpoints.device_authorization), bool(endpoints.authorization)
    if not has_code and not has_web:
        text = "the metadata names neither a device_authorization_endpoint nor an "
        return problem("login", f"{text}authorization_endpoint, so nobody can log in from here")
    if wished and not has_code:
        return warning(
            "login",
            "deviceFlow is true, but the metadata names no device_authorization_endpoint; "
            "a login takes the browser",
            "switch the device flow on at the issuer, or leave out deviceFlow",
        )
    if wished is False and not has_web:
        return warning(
            "login",
            "deviceFlow is false, but the metadata names no authorization_endpoint; a login takes "
            "the code",
            "leave out deviceFlow",
        )
    ways = (("by code (--device)", has_code), ("by browser (--web)", has_web))
    return ok("login", f"users can log in {' and '.join(way for way, offered in ways if offered)}")


def _certificate(issuer: Issuer, response: HttpsResponse, now: float) -> Finding:
    if response.certificate is None:
        return ok("certificate", "the issuer is internal, and is reached without TLS")
    first, last = response.certificate
    left = human_duration(last - now)
    if last - now < min(_LAST_DAYS, (last - first) / 4):
        text = f"the certificate expires in {left}; who runs the issuer must renew it"
        return warning("certificate", text, f"run: {_certificate_command(issuer)}")
    return ok("certificate", f"chain and name are right, and it is valid for {left}")


def _certificate_command(issuer: Issuer) -> str:
    parts = urlsplit(issuer.issuer)
    where = shlex.quote(f"{parts.hostname}:{parts.port or 443}")
    fields = "-noout -subject -issuer -dates -ext subjectAltName"
    return f"openssl s_client -connect {where} </dev/null | openssl x509 {fields}"


def _clock(response: HttpsResponse, now: float) -> Finding:
    theirs = _server_time(response)
    if theirs is None:
        return ok("clock", "the issuer does not say what time it is")
    difference = now - theirs
    if abs(difference) < _NOTICEABLE:
        return ok("clock", "the clocks of the issuer and of this machine agree")
    direction = "fast" if difference > 0 else "slow"
    text = f"the clock of this machine is {human_duration(abs(difference))} {direction}, by that "
    kind = warning if abs(difference) < _TOO_MUCH else problem
    return kind("clock", f"{text}of the issuer", _SET_CLOCK)


def _server_time(response: HttpsResponse) -> float | None:
    """Return the time of the server, also if the response comes from a cache."""
    try:
        age = int(response.age) if response.age.isdecimal() else 0
        return parsedate_to_datetime(response.date).timestamp() + age
    except (ValueError, OverflowError):
        return None
