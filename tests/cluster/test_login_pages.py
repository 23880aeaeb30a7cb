"""`kubectl oauth2-csi login` against authorization servers, their pages clicked in Chromium."""

from collections.abc import Iterator

import pytest

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

pytestmark = pytest.mark.tools(*PROGRAMS, *BROWSER, "oidc-provider")
NS = "ivan"
PUBLIC = Client("kubectl", Sensitive(""))
# Each with the names of its issuer and of its Secrets.
SERVERS = pytest.mark.parametrize(
    ("server", "pages"), [("peer", OIDC_PROVIDER), ("demo", DEMO)], ids=["oidc-provider", "demo"]
)


@pytest.fixture(scope="module")
def bench(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginBench]:
    with (
        OidcProvider((Registered(PUBLIC, auth="none"),)) as peer,
        ScriptedIssuer(clients=[DEMO_CLIENT, LOGIN_CLIENT]) as own,
    ):
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


def assert_one_sentence_and_no_secret(bench: LoginBench, text: str, sentence: str) -> None:
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, text
    assert sentence in errors[0], text
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


def test_a_typed_code_that_is_denied_ends_without_a_secret(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("never", "--issuer", "peer") as login:
        address, code = login.find(ADDRESS), login.find(CODE)
        OIDC_PROVIDER.decide_device(browser, address, code=code, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")


@SERVERS
def test_a_login_in_the_browser_of_this_machine_is_denied_or_ends_in_a_secret_that_rotates(
    bench: LoginBench, browser: Browser, server: str, pages: Pages
) -> None:
    with bench.login("never", "--web", "--issuer", server) as login:
        browser.open(login.opened())
        pages.decide(browser, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")
    browser.forget()
    name = f"{server}-web"
    with bench.login(name, "--web", "--issuer", server) as login:
        browser.open(login.opened())
        pages.decide(browser)
        browser.wait_for("You can close this page")
        assert f"{name} is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates(name)
