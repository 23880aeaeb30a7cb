"""The login of `--login`: that of `kubectl oauth2-csi login`, at the demo's own server."""

import sys
import threading
import time
from typing import Any

from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import SCOPE
from csidriver.demo.issuer import LOGIN_CLIENT
from csidriver.errors import DriverError
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.login_flow import Flow, LoginPlan, log_in
from csidriver.kubectl.login.loopback import DEFAULT_REDIRECT, Redirect
from csidriver.kubectl.login.oauth_client import OAuthClient, fetch_endpoints
from csidriver.kubectl.login.secret_writer import SecretContent, new_manifest
from csidriver.kubectl.terminal import Terminal


class StoppableClock:
    """The machine's clock; `sleep` raises DriverError when the demo is to stop."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise DriverError("interrupted during the login")


def log_in_at(url: str, ref: SourceRef, stop: threading.Event) -> dict[str, Any]:
    """Let the user log in on a page; return the Secret's manifest, or raise DriverError."""
    issuer = Issuer(name="demo", issuer=url, internal=True)
    https = HttpsClient()
    client = Client(LOGIN_CLIENT.client_id, Sensitive(""))
    oauth = OAuthClient(https, fetch_endpoints(https, issuer), client)
    plan = LoginPlan(issuer, oauth, SCOPE, Flow.DEVICE, Redirect.parse(DEFAULT_REDIRECT))
    terminal = Terminal(sys.stdout, sys.stdout)
    document = log_in(plan, terminal, StoppableClock(stop), sys.stdout.encoding)
    return new_manifest(ref, SecretContent(issuer, client, document))
