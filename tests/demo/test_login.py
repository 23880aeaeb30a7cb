"""The login with which the demo may begin."""

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import LOGIN_CLIENT, StrictIssuer
from csidriver.demo.login import log_in_at
from csidriver.errors import DriverError
from tests.demo.browser import open_form
from tests.demo.client import grant, post
from tests.refresher.bench import until

REF = SourceRef("default", "hello-token")


@pytest.fixture
def issuer() -> Iterator[StrictIssuer]:
    with StrictIssuer(clients=[LOGIN_CLIENT]) as running:
        running.logins.interval = 1
        yield running


@contextlib.contextmanager
def logging_in(issuer: StrictIssuer, stop: threading.Event) -> Iterator["Future[dict[str, Any]]"]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(log_in_at, issuer.url, REF, stop)
        stop.set()


def page(capsys: pytest.CaptureFixture[str]) -> str:
    """The address with the code, as the user reads it."""
    shown = [""]

    def found() -> re.Match[str] | None:
        shown[0] += capsys.readouterr().out
        return re.search(r"http\S+\?user_code=\S+", shown[0])

    address: re.Match[str] = until(found, "the address is shown")
    return address[0]


def test_the_secret_holds_a_token_that_works(
    issuer: StrictIssuer, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_in(issuer, threading.Event()) as login:
        open_form(page(capsys)).press("allow")
        manifest = login.result(20)
    assert manifest["metadata"]["name"] == REF.name
    data = {key: base64.b64decode(text).decode() for key, text in manifest["data"].items()}
    assert data["clientID"] == LOGIN_CLIENT.client_id
    token = re.search(r'"refresh_token": ?"([^"]+)"', data["oauth"])
    assert token is not None
    form = grant(Sensitive(token[1]), client_id=LOGIN_CLIENT.client_id)
    assert post(f"{issuer.url}/token", form).status_code == 200


def test_a_denied_login_ends_with_a_sentence(
    issuer: StrictIssuer, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_in(issuer, threading.Event()) as login:
        open_form(page(capsys)).press("deny")
        with pytest.raises(DriverError, match="was denied in the browser"):
            login.result(20)


def test_an_interrupt_ends_the_wait(
    issuer: StrictIssuer, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()
    with logging_in(issuer, stop) as login:
        page(capsys)
        stop.set()
        with pytest.raises(DriverError, match="interrupted"):
            login.result(20)
