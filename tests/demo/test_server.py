import requests

from csidriver.demo.issuer import StrictIssuer
from csidriver.demo.server import origin_form
from csidriver.listener import host_and_port
from tests.demo.client import TIMEOUT, post


def test_body_limit_is_64_kib(issuer: StrictIssuer) -> None:
    seed = issuer.seed("app")
    start = f"grant_type=refresh_token&refresh_token={seed.reveal()}&padding="
    limit = 64 * 1024
    refused = {}
    for size in (limit + 1, limit):
        body = start.ljust(size, "x").encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = post(f"{issuer.url}/token", body, headers=headers, auth=("app", "s3cret"))
        refused[size] = reply.status_code
    assert refused == {limit + 1: 413, limit: 200}


def test_a_request_for_a_proxy_is_served() -> None:
    """The refresher reaches the demo's server in a cluster like this."""
    assert origin_form("/device?next=http://x/y") == "/device?next=http://x/y"
    assert origin_form("http://localhost:8085") == "/"
    with StrictIssuer(clients=[], issuer="http://localhost:8085") as running:
        proxies = {"http": f"http://{host_and_port(running._address)}"}
        with requests.Session() as session:
            session.trust_env = False  # it may name no proxy for localhost
            url = "http://localhost:8085/.well-known/openid-configuration"
            reply = session.get(url, proxies=proxies, timeout=TIMEOUT)
    assert reply.json()["issuer"] == "http://localhost:8085"
