from pathlib import Path

import pytest

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    Timeouts,
    from_kubeconfig,
)
from csidriver.errors import StoreUnavailable
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import BASE, NEEDLE, PATCH, QUICK, TOKEN, config, manifest
from tests.adapters.kubernetes.scripted import Says, Scripted


def test_a_server_that_says_nothing_is_unavailable(api: Scripted, tmp_path: Path) -> None:
    api.answering = lambda _: Says(status=None)
    access = from_kubeconfig(config(tmp_path, api.url))
    store = KubernetesStore(KubernetesClient(access, Timeouts.within(0.2)))
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        store.patch_secret(BASE, PATCH)
    assert len(api.asked) == 1


def test_a_refusal_leads_to_one_more_request_with_another_token(
    api: Scripted, tmp_path: Path
) -> None:
    store = KubernetesStore(KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK))
    config(tmp_path, api.url, token="new")
    api.answering = lambda asked: (
        Says(manifest()) if asked.headers["Authorization"] == "Bearer new" else Says(b"", 401)
    )
    assert store.get_secret("alice", "token") is not None
    assert store.get_secret("alice", "token") is not None
    tokens = [asked.headers["Authorization"] for asked in api.asked]
    assert tokens == [f"Bearer {TOKEN}", "Bearer new", "Bearer new"]


def test_a_token_that_is_no_header_is_not_shown(api: Scripted, tmp_path: Path) -> None:
    access = from_kubeconfig(config(tmp_path, api.url, token=f"{NEEDLE}\n{NEEDLE}"))
    with pytest.raises(StoreUnavailable) as caught:
        KubernetesStore(KubernetesClient(access, QUICK)).get_secret("alice", "token")
    assert NEEDLE not in shown(caught.value)
    assert api.asked == []


def test_proxies_of_the_environment_are_for_others(
    api: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    api.answering = lambda _: Says(manifest())
    store = KubernetesStore(KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK))
    assert store.get_secret("alice", "token") is not None
