"""The end of connections."""

import threading
import time

import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import RegisteredClient
from tests.demo.client import TIMEOUT
from tests.issuer.issuer import ScriptedIssuer
from tests.refresher.bench import until

CLIENTS = [RegisteredClient("app", Sensitive("s3cret"))]


def test_stop_ends_idle_connections_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with ScriptedIssuer(clients=CLIENTS) as issuer, requests.Session() as session:
        assert session.get(issuer.url, timeout=TIMEOUT).status_code == 404
        began = time.monotonic()
        issuer.stop()
        assert time.monotonic() - began < TIMEOUT
        until(lambda: not set(threading.enumerate()) - before)
