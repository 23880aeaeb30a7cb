"""Every programmable fault, seen from a client, and what it leaves behind."""

import threading
import time
from collections.abc import Iterator

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.issuer.faults import (
    Delay,
    Drip,
    DropAfter,
    DropBefore,
    Fault,
    Hold,
    Oversized,
    Redirect,
    ReplacedBody,
    StatusReply,
    Truncate,
)
from tests.issuer.issuer import ScriptedIssuer
from tests.refresher.bench import until

TIMEOUT = 10.0  # seconds; only a defect waits for it
FOR_EVER = 30.0  # seconds; as good as, and yet a defect ends in a failure


@pytest.fixture
def issuer() -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(clients=[RegisteredClient("app", Sensitive("s3cret"))]) as running:
        yield running


def refresh(
    issuer: ScriptedIssuer, token: Sensitive, *, timeout: float = TIMEOUT
) -> requests.Response:
    return requests.post(
        f"{issuer.url}/token",
        data={"grant_type": "refresh_token", "refresh_token": token.reveal()},
        auth=("app", "s3cret"),
        timeout=timeout,
        allow_redirects=False,
    )


def outcomes(issuer: ScriptedIssuer) -> list[str]:
    return [row.outcome for row in issuer.presentations()]


def test_delay_comes_before_handling(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Delay(0.2))
    began = time.monotonic()
    assert refresh(issuer, seed).status_code == 200
    assert time.monotonic() - began >= 0.2
    assert outcomes(issuer) == ["rotated"]


def test_stop_ends_a_delay_without_handling(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Delay(FOR_EVER))
    with pytest.raises(requests.ReadTimeout):
        refresh(issuer, seed, timeout=0.2)
    until(lambda: not issuer._faults, "the server has begun")
    began = time.monotonic()
    issuer.stop()
    assert time.monotonic() - began < FOR_EVER / 2
    assert outcomes(issuer) == ["dropped_before"]


def test_hold_lasts_until_it_is_released(issuer: ScriptedIssuer) -> None:
    seed, released = issuer.seed("app"), threading.Event()
    issuer.add_faults(Hold(released))
    with pytest.raises(requests.ReadTimeout):
        refresh(issuer, seed, timeout=0.2)
    assert outcomes(issuer) == []
    released.set()
    until(lambda: outcomes(issuer) == ["rotated"])


def test_stop_ends_a_hold_without_handling(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Hold(threading.Event()))
    with pytest.raises(requests.ReadTimeout):
        refresh(issuer, seed, timeout=0.2)
    until(lambda: not issuer._faults, "the server has begun")
    issuer.stop()
    assert outcomes(issuer) == ["dropped_before"]


def test_drip_sends_every_byte_slowly(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Drip(0.0005))
    began = time.monotonic()
    reply = refresh(issuer, seed)
    assert reply.json()["token_type"] == "Bearer"
    assert time.monotonic() - began >= 0.0005 * len(reply.content)


def test_stop_ends_a_drip_that_has_committed(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Drip(FOR_EVER))
    with pytest.raises(requests.ReadTimeout):
        refresh(issuer, seed, timeout=0.2)
    until(lambda: not issuer._faults, "the server has begun")
    began = time.monotonic()
    issuer.stop()
    assert time.monotonic() - began < FOR_EVER / 2
    assert outcomes(issuer) == ["rotated"]


def test_drop_before_spends_nothing(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(DropBefore())
    with pytest.raises(requests.ConnectionError):
        refresh(issuer, seed)
    assert refresh(issuer, seed).status_code == 200
    assert outcomes(issuer) == ["dropped_before", "rotated"]
    assert {(row.token_hash, row.client_id) for row in issuer.presentations()} == {
        (seed.hash(), "app")
    }
    assert issuer.max_presentations() == 2


def test_drop_after_has_committed_and_resets(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(DropAfter())
    with pytest.raises(requests.ConnectionError, match="reset"):
        refresh(issuer, seed)
    assert refresh(issuer, seed).json()["error"] == "invalid_grant"
    assert outcomes(issuer) == ["rotated", "replayed"]


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        (StatusReply(503, b"later", {"Retry-After": "7"}), 503, {"Retry-After": "7"}, b"later"),
        (StatusReply(599), 599, {}, b""),
        (Redirect("http://127.0.0.1:1/"), 307, {"Location": "http://127.0.0.1:1/"}, b""),
        (Redirect("/other", 302), 302, {"Location": "/other"}, b""),
    ],
    ids=["status with all", "unknown status", "redirect", "other redirect"],
)
def test_answers_instead_of_handling_spend_nothing(
    issuer: ScriptedIssuer, fault: Fault, status: int, headers: dict[str, str], body: bytes
) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(fault)
    reply = refresh(issuer, seed)
    assert (reply.status_code, reply.content) == (status, body)
    assert headers.items() <= dict(reply.headers).items()
    assert refresh(issuer, seed).status_code == 200
    assert outcomes(issuer) == ["answered_before", "rotated"]


def test_body_replaces_the_reply_after_committing(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(ReplacedBody(b"<html>", "text/html"))
    reply = refresh(issuer, seed)
    assert (reply.status_code, reply.content) == (200, b"<html>")
    assert reply.headers["Content-Type"] == "text/html"
    assert outcomes(issuer) == ["rotated"]


def test_oversized_reply_is_whole_huge_and_committed(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Oversized(3_000_000))
    reply = refresh(issuer, seed)
    assert len(reply.content) == 3_000_000
    second = Sensitive(reply.json()["refresh_token"])
    assert refresh(issuer, second).status_code == 200


def test_truncated_reply_has_committed(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(Truncate(10))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="10 bytes read"):
        refresh(issuer, seed)
    assert outcomes(issuer) == ["rotated"]


def test_faults_come_in_order_and_to_token_requests_only(issuer: ScriptedIssuer) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(StatusReply(500), StatusReply(502))
    issuer.add_faults(StatusReply(503))
    seen = [refresh(issuer, seed).status_code]
    seen += [requests.get(f"{issuer.url}/token", timeout=TIMEOUT).status_code]
    seen += [requests.get(issuer.url, timeout=TIMEOUT).status_code]
    seen += [refresh(issuer, seed).status_code for _ in range(3)]
    assert seen == [500, 405, 404, 502, 503, 200]


def test_faults_show_no_body() -> None:
    shown = repr([StatusReply(200, b"planted"), ReplacedBody(b"planted")])
    assert "planted" not in shown
