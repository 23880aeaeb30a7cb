"""The demo's server as a process that is killed, and comes back without a memory."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from csidriver.core import annotations
from csidriver.core.sensitive import Sensitive
from csidriver.demo.environment import SOURCE, load_example
from csidriver.demo.issuer import DEMO_SEED
from tests.demo.client import TIMEOUT, grant, post
from tests.kubectl_store import KubectlStore
from tests.processes import running
from tests.refresher.bench import until
from tests.reserved_port import reserve_port

CLIENT = ("my-app", "my-app-client-secret")


@pytest.fixture
def address() -> Iterator[str]:
    with reserve_port() as reserved:
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


@contextlib.contextmanager
def serving(address: str, lifetime: str = "20") -> Iterator[None]:
    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            place = f"http://{address}/.well-known/openid-configuration"
            return requests.get(place, timeout=TIMEOUT).ok
        return False

    with running("demo-issuer", "--listen", address, "--lifetime", lifetime):
        until(answers, "the server answers")
        yield


def refresh(address: str, token: Sensitive) -> Sensitive | None:
    reply = post(f"http://{address}/token", grant(token), auth=CLIENT)
    return Sensitive(reply.json()["refresh_token"]) if reply.ok else None


def test_a_restarted_server_knows_the_tokens_that_it_issued(address: str) -> None:
    with serving(address):
        second = refresh(address, DEMO_SEED)
        assert second is not None
    with serving(address):
        third = refresh(address, second)
        assert third is not None
        assert refresh(address, second) is None, "each of them still works once"
        assert refresh(address, third) is None


def test_the_example_removed_with_its_server_can_be_tried_again(
    address: str, tmp_path: Path
) -> None:
    store, issuers = KubectlStore(tmp_path / "store", poll=0.02), tmp_path / "issuers.yaml"
    entry = {"name": "demo", "issuer": f"http://{address}", "default": True, "internal": True}
    issuers.write_text(yaml.safe_dump({"issuers": [entry]}), encoding="utf-8")
    (example,) = load_example("hello-token.yaml")
    seen: set[str] = set()

    def is_refreshed() -> bool:
        secret = store.get_secret(SOURCE.namespace, SOURCE.name)
        assert secret is not None
        status = secret.annotations.get(annotations.STATUS)
        assert status != "NeedsReauth"
        refreshed_at = secret.annotations.get(annotations.REFRESHED_AT, "")
        is_new = status == "Ready" and refreshed_at not in {"", *seen}
        seen.add(refreshed_at)
        return is_new

    flags = ("--store", f"dir:{tmp_path / 'store'}", "--issuers", str(issuers))
    with running("refresher", *flags, "--listen", "127.0.0.1:0"):
        for _ in range(2):
            with serving(address, lifetime="4"):
                store.apply(example, SOURCE.namespace)
                for _ in range(2):
                    until(is_refreshed, "the example's token is refreshed")
            store.remove("Secret", SOURCE.namespace, SOURCE.name)
