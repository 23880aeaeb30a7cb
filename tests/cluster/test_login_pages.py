"""`kubectl oauth2-csi login` against authorization servers, their pages clicked in Chromium."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from csidriver.core.annotations import IS_TOKEN, ISSUER, STATUS
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT, LOGIN_CLIENT
from tests.browser import PROGRAMS as BROWSER
from tests.browser import Browser
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.login_bench import ADDRESS, CODE, COMPLETE, LoginBench, end_of
from tests.issuer.issuer import ScriptedIssuer
from tests.peers.login_pages import DEMO, OIDC_PROVIDER, Pages
from tests.peers.oidcprovider import OidcProvider, Registered
from tests.refresher.bench import until

pytestmark = pytest.mark.tools(*PROGRAMS, *BROWSER, "oidc-provider")
NS = "ivan"
PUBLIC = Client("kubectl", Sensitive(""))
HASTY = Client("hasty", Sensitive(""))
CONFIDENTIAL = Client("app", Sensitive("secret of app"))
CLIENTS = (
    Registered(PUBLIC, auth="none"),
    Registered(HASTY, auth="none", code_lifetime=3.0),
    Registered(CONFIDENTIAL),
)
# Each with the names of its issuer and of its Secrets.
SERVERS = pytest.mark.parametrize(
    ("server", "pages"), [("peer", OIDC_PROVIDER), ("demo", DEMO)], ids=["oidc-provider", "demo"]
)


@pytest.fixture(scope="module")
def own() -> Iterator[ScriptedIssuer]:
    """The demo's server."""
    with ScriptedIssuer(clients=[DEMO_CLIENT, LOGIN_CLIENT]) as server:
        yield server


@pytest.fixture(scope="module")
def bench(
    cluster: Cluster, own: ScriptedIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoginBench]:
    with OidcProvider(CLIENTS) as peer:
        consent = {"clientID": PUBLIC.client_id, "params": {"prompt": "consent"}}
        issuers = [
            {"name": "peer", "issuer": peer.issuer, "internal": True, "login": consent},
            {"name": "demo", "issuer": own.url, "internal": True, "default": True}
            | {"login": {"clientID": LOGIN_CLIENT.client_id}},
        ]
        with LoginBench(cluster, tmp_path_factory.mktemp("login"), NS, *issuers) as bench:
            yield bench


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.forget()
    return chromium


def assert_one_sentence_and_no_secret(bench: LoginBench, text: str, pattern: str) -> None:
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, text
    assert re.search(pattern, errors[0]), text
    assert text.endswith(f"{errors[0]}\n")
    assert "never" not in bench.secrets()


@SERVERS
def test_a_code_in_the_address_ends_in_a_secret_that_rotates(
    bench: LoginBench, browser: Browser, server: str, pages: Pages
) -> None:
    name = f"{server}-device"
    with bench.login(name, "--issuer", server) as login:
        pages.decide_device(browser, login.find(COMPLETE))
        assert f"{name} is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates(name)


@SERVERS
def test_a_typed_code_that_is_denied_ends_without_a_secret(
    bench: LoginBench, browser: Browser, server: str, pages: Pages
) -> None:
    with bench.login("never", "--issuer", server) as login:
        address, code = login.find(ADDRESS), login.find(CODE)
        pages.decide_device(browser, address, code=code, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")


def test_a_code_that_nobody_enters_expires(bench: LoginBench) -> None:
    with bench.login("never", "--issuer", "peer", "--client-id", HASTY.client_id) as login:
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the code has expired")


@SERVERS
def test_the_browser_of_this_machine_ends_in_a_secret_that_rotates_on_any_port(
    bench: LoginBench, browser: Browser, server: str, pages: Pages
) -> None:
    name = f"{server}-web"
    with occupied(8000), occupied(18000), bench.login(name, "--web", "--issuer", server) as login:
        browser.open(login.opened())
        pages.decide(browser)
        browser.wait_for("You can close this page")
        text = end_of(login)
    assert "Port 8000 is in use." in text
    assert f"{name} is Ready" in text
    bench.assert_it_is_ready_and_rotates(name)


@SERVERS
def test_a_login_denied_in_the_browser_ends_without_a_secret(
    bench: LoginBench, browser: Browser, server: str, pages: Pages
) -> None:
    with bench.login("never", "--web", "--issuer", server) as login:
        browser.open(login.opened())
        pages.decide(browser, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")


def test_a_secret_whose_login_has_ended_gets_a_new_one_with_its_own_client(
    bench: LoginBench, browser: Browser
) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ended", "annotations": {IS_TOKEN: "true", ISSUER: "peer"}},
        "stringData": {
            "oauth": json.dumps({"refresh_token": "never-issued"}),
            "clientID": CONFIDENTIAL.client_id,
            "clientSecret": CONFIDENTIAL.client_secret.reveal(),
        },
    }
    bench.user.kubectl("apply", stdin=secret)
    until(lambda: bench.user.source("ended").annotations.get(STATUS) == "NeedsReauth")
    with bench.login("ended", "--web") as login:
        browser.open(login.opened())
        OIDC_PROVIDER.decide(browser)
        assert "ended is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates("ended")


def test_a_server_that_is_away_for_a_while_ends_no_login(
    bench: LoginBench, browser: Browser, own: ScriptedIssuer
) -> None:
    with bench.login("patient", "--issuer", "demo") as login:
        complete = login.find(COMPLETE)
        own.stop()
        login.find("(does not answer; waiting for it)")
        own.start()
        DEMO.decide_device(browser, complete)
        assert "patient is Ready" in end_of(login)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"state": "of-another-login"}, r"another login \(state\)"),
        ({"iss": "https://sso.example.org"}, r"not of issuer .* \(iss\)"),
        ({"iss": None}, r"not of issuer .* \(iss\)"),
    ],
    ids=["state", "iss", "no iss"],
)
def test_an_answer_of_somebody_else_in_the_browser_is_refused(
    bench: LoginBench, browser: Browser, change: dict[str, str | None], pattern: str
) -> None:
    with bench.login("never", "--web", "--issuer", "peer") as login:
        asked = urlsplit(login.opened())
        sent = {name: values[0] for name, values in parse_qs(asked.query).items()}
        answer = {"code": "a-code", "state": sent["state"], "iss": f"http://{asked.netloc}"}
        answer = {name: text for name, text in (answer | change).items() if text}
        browser.open(f"{sent['redirect_uri']}?{urlencode(answer)}")
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, pattern)
    assert "a-code" not in text


def test_a_redirect_address_whose_port_is_busy_is_refused(bench: LoginBench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/callback"
        with bench.login("never", "--web", "--redirect-url", address) as login:
            text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "no port to listen on")


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    """Have a port in use, by this test or another one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield
