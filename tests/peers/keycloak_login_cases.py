"""`kubectl oauth2-csi login` at Keycloak, its pages clicked in Chromium: `make test-keycloak`."""

import base64
import json
from collections.abc import Iterator

import pytest

from csidriver.core.sensitive import Sensitive
from tests.browser import PROGRAMS as BROWSER
from tests.browser import Browser
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.login_bench import ADDRESS, CODE, LoginBench, end_of
from tests.peers.keycloak import PUBLIC, Keycloak
from tests.peers.login_pages import KEYCLOAK

pytestmark = pytest.mark.tools(*PROGRAMS, *BROWSER, "keycloak")
NS = "heidi"


@pytest.fixture(scope="module")
def bench(
    cluster: Cluster, keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoginBench]:
    realm = keycloak.realm("login", oauth2DevicePollingInterval=1)
    issuer = {"name": "realm", "issuer": realm.url, "default": True, "internal": True}
    issuer["login"] = {"clientID": PUBLIC}
    with LoginBench(cluster, tmp_path_factory.mktemp("login"), NS, issuer) as bench:
        yield bench


@pytest.fixture
def browser(keycloak: Keycloak, bench: LoginBench) -> Iterator[Browser]:  # noqa: ARG001
    """Have a browser of somebody whom Keycloak asks for everything."""
    keycloak.withdraw_consents("login")
    with Browser() as browser:
        yield browser


def type_of(token: Sensitive) -> str:
    payload = token.reveal().split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["typ"])


def test_a_login_with_a_code_ends_in_an_offline_token_that_rotates(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("device") as login:
        KEYCLOAK.decide_device(browser, login.find(ADDRESS), code=login.find(CODE))
        assert "device is Ready" in end_of(login)
    assert type_of(bench.live("device")) == "Offline"
    bench.assert_it_is_ready_and_rotates("device")


def test_a_login_in_the_browser_ends_in_a_secret_that_rotates(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("web", "--web") as login:
        browser.open(login.opened())
        KEYCLOAK.decide(browser)
        browser.wait_for("You can close this page")
        assert "web is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates("web")
