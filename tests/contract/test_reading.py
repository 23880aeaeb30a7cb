"""The contract of a store for the node, which only reads.

`TestReading` runs with the directory and with the API server of the adapter's own tests; a subclass
in tests/cluster runs with a real API server.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.rest import Credentials, RestStore, Timings
from csidriver.core.annotations import COMPANION_TYPE, IS_TOKEN
from csidriver.core.kubernetes.secret import Secret
from tests.adapters.apiserver import ApiServer
from tests.contract.test_store import NS, ODD, manifest, watched
from tests.kubectl_store import KubectlStore

PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}


class Reader(Protocol):
    """A store as the node sees it."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]: ...
    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None: ...
    def get_namespace_uid(self, namespace: str) -> str: ...


class ReadHarness(Protocol):
    """A store that reads in one namespace, and what others do to its objects."""

    namespace: str

    @property
    def store(self) -> Reader: ...
    def apply(self, manifest: Mapping[str, Any]) -> None: ...
    def remove(self, kind: str, name: str) -> None: ...


class DirectoryHarness:
    namespace = NS

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root, poll=0.005)
        self._user = KubectlStore(root)

    def apply(self, manifest: Mapping[str, Any]) -> None:
        self._user.apply(manifest, NS)

    def remove(self, kind: str, name: str) -> None:
        self._user.remove(kind, NS, name)


class ScriptedHarness:
    """The node's adapter, at the API server that its own tests use."""

    namespace = NS

    def __init__(self, api: ApiServer) -> None:
        self.store = RestStore(Credentials(api.url, api.pem), Timings(poll=0.05))
        self._api = api

    def apply(self, manifest: Mapping[str, Any]) -> None:
        self._api.store(PLURALS[manifest["kind"]], NS, dict(manifest))

    def remove(self, kind: str, name: str) -> None:
        self._api.remove(name, kind=PLURALS[kind], namespace=NS)


class TestReading:
    @pytest.fixture(params=["directory", "scripted API server"])
    def harness(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadHarness]:
        if request.param == "directory":
            yield DirectoryHarness(tmp_path)
            return
        with ApiServer(tmp_path) as api:
            yield ScriptedHarness(api)

    def test_a_config_map_is_its_texts(self, harness: ReadHarness) -> None:
        template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "eos"}}
        assert harness.store.get_config_map(harness.namespace, "eos") is None
        harness.apply(template | {"data": {"template": ODD}})
        assert harness.store.get_config_map(harness.namespace, "eos") == {"template": ODD}
        harness.apply(template)
        assert harness.store.get_config_map(harness.namespace, "eos") == {}
        harness.remove("ConfigMap", "eos")
        assert harness.store.get_config_map(harness.namespace, "eos") is None

    def test_a_namespace_has_a_uid(self, harness: ReadHarness) -> None:
        assert harness.store.get_namespace_uid("absent") == ""
        harness.apply(manifest())
        assert len(harness.store.get_namespace_uid(harness.namespace)) > 8

    def test_a_watch_yields_the_secret_at_once_and_at_every_change(
        self, harness: ReadHarness
    ) -> None:
        harness.apply(manifest())
        with reading(harness) as next_secret:
            seen = [next_secret()]
            harness.apply(manifest(data={"oauth": "MQ=="}))
            seen.append(next_secret())
            harness.remove("Secret", "token")
            seen.append(next_secret())
            harness.apply(manifest(data={"oauth": "MQ=="}))
            seen.append(next_secret())
        assert [oauth(secret) for secret in seen] == ['{"refresh_token":"r1"}', "1", None, "1"]
        first, second, _, again = seen
        assert first is not None
        assert second is not None
        assert again is not None
        assert (first.namespace, first.name) == (harness.namespace, "token")
        assert first.uid == second.uid != again.uid
        assert len({first.resource_version, second.resource_version, again.resource_version}) == 3

    def test_an_absent_secret_can_be_watched(self, harness: ReadHarness) -> None:
        with reading(harness) as next_secret:
            assert next_secret() is None
            harness.apply(manifest())
            assert oauth(next_secret()) is not None

    def test_a_watch_yields_the_changes_of_one_secret_only(self, harness: ReadHarness) -> None:
        harness.apply(manifest())
        with reading(harness) as next_secret:
            next_secret()
            harness.apply(manifest())
            harness.apply(manifest("tokens"))
            harness.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "token"}})
            harness.remove("Secret", "tokens")
            harness.apply(manifest(data={"oauth": "Mg=="}))
            assert oauth(next_secret()) == "2"

    def test_a_watched_secret_shows_its_texts_and_only_our_annotations(
        self, harness: ReadHarness
    ) -> None:
        harness.apply(manifest(type=COMPANION_TYPE))
        with reading(harness) as next_secret:
            secret = next_secret()
        assert secret is not None
        assert secret.type == COMPANION_TYPE
        assert secret.annotations == {IS_TOKEN: "true"}
        assert {key for key, value in secret.data.items() if value} == {"oauth"}

    def test_two_watches_yield_the_same(self, harness: ReadHarness) -> None:
        harness.apply(manifest())
        with reading(harness) as one, reading(harness) as other:
            assert one() == other()
            harness.remove("Secret", "token")
            assert one() is None
            assert other() is None

    def test_a_watch_that_is_stopped_beforehand_yields_nothing(self, harness: ReadHarness) -> None:
        stop = threading.Event()
        stop.set()
        assert list(harness.store.watch_secret(harness.namespace, "token", stop)) == []


def reading(harness: ReadHarness) -> AbstractContextManager[Callable[[], Secret | None]]:
    return watched(lambda stop: harness.store.watch_secret(harness.namespace, "token", stop))


def oauth(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["oauth"].reveal()
