"""What a fault leaves behind at the server: tests of the driver rely on it."""

import threading
from collections.abc import Iterator

import pytest
import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.demo.client import refresh
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

FOR_EVER = 3600.0  # seconds


@pytest.fixture
def issuer() -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(clients=[RegisteredClient("app", Sensitive("s3cret"))]) as running:
        yield running


def outcomes(issuer: ScriptedIssuer) -> list[str]:
    return [row.outcome for row in issuer.presentations()]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Delay(0.01), "rotated"),
        (Drip(0.0001), "rotated"),
        (DropBefore(), "dropped_before"),
        (DropAfter(), "rotated"),
        (StatusReply(599, b"later", {"Retry-After": "7"}), "answered_before"),
        (Redirect("/other"), "answered_before"),
        (ReplacedBody(b"<html>", "text/html"), "rotated"),
        (Oversized(3_000_000), "rotated"),
        (Truncate(10), "rotated"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_spends_a_token_or_does_not(
    issuer: ScriptedIssuer, fault: Fault, outcome: str
) -> None:
    seed = issuer.seed("app")
    issuer.add_faults(fault)
    assert requests.get(f"{issuer.url}/token", timeout=5).status_code == 405, "no token request"
    broken = isinstance(fault, DropBefore | DropAfter | Truncate)
    try:
        refresh(issuer, seed)
        assert not broken
    except requests.RequestException:
        assert broken
    assert outcomes(issuer) == [outcome]
    refresh(issuer, seed)
    assert outcomes(issuer)[1:] == ["replayed" if outcome == "rotated" else "rotated"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Delay(FOR_EVER), "dropped_before"),
        (Hold(threading.Event()), "dropped_before"),
        (Drip(FOR_EVER), "rotated"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_stop_ends_a_fault_and_all_threads(fault: Fault, outcome: str) -> None:
    before = set(threading.enumerate())
    with ScriptedIssuer(clients=[RegisteredClient("app", Sensitive("s3cret"))]) as issuer:
        seed = issuer.seed("app")
        issuer.add_faults(fault)
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                f"{issuer.url}/token",
                {"grant_type": "refresh_token", "refresh_token": seed.reveal()},
                auth=("app", "s3cret"),
                timeout=0.2,
            )
        until(lambda: not issuer._faults, "the server has begun")
        issuer.stop()
        assert outcomes(issuer) == [outcome]
        until(lambda: not set(threading.enumerate()) - before)
