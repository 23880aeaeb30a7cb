"""`kubectl oauth2-csi login` against authorization servers, their pages clicked in Chromium."""

from collections.abc import Iterator

import pytest

from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.browser import PROGRAMS as BROWSER
from tests.browser import Browser
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.login_bench import ADDRESS, CODE, COMPLETE, LoginBench, end_of
from tests.peers.login_pages import OIDC_PROVIDER
from tests.peers.oidcprovider import OidcProvider, Registered

pytestmark = pytest.mark.tools(*PROGRAMS, *BROWSER, "oidc-provider")
NS = "ivan"
PUBLIC = Client("kubectl", Sensitive(""))


@pytest.fixture(scope="module")
def bench(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginBench]:
    with OidcProvider((Registered(PUBLIC, auth="none"),)) as peer:
        consent = {"clientID": PUBLIC.client_id, "params": {"prompt": "consent"}}
        issuer = {"name": "peer", "issuer": peer.issuer, "default": True, "internal": True}
        issuer["login"] = consent
        with LoginBench(cluster, tmp_path_factory.mktemp("login"), NS, issuer) as bench:
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


def test_a_code_in_the_address_ends_in_a_secret_that_rotates(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("device") as login:
        OIDC_PROVIDER.decide_device(browser, login.find(COMPLETE))
        assert "device is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates("device")


def test_a_typed_code_that_is_denied_ends_without_a_secret(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("never") as login:
        address, code = login.find(ADDRESS), login.find(CODE)
        OIDC_PROVIDER.decide_device(browser, address, code=code, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")


def test_a_login_in_the_browser_of_this_machine_is_denied_or_ends_in_a_secret_that_rotates(
    bench: LoginBench, browser: Browser
) -> None:
    with bench.login("never", "--web") as login:
        browser.open(login.opened())
        OIDC_PROVIDER.decide(browser, allow=False)
        text = end_of(login, 1)
    assert_one_sentence_and_no_secret(bench, text, "the login was denied")
    browser.forget()
    with bench.login("web", "--web") as login:
        browser.open(login.opened())
        OIDC_PROVIDER.decide(browser)
        browser.wait_for("You can close this page")
        assert "web is Ready" in end_of(login)
    bench.assert_it_is_ready_and_rotates("web")
