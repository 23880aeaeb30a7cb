"""What every backend promises to the node, which only reads.

`TestReading` runs at the directory and at the API server that the adapter's own tests use; a
subclass in tests/cluster asks it of a real API server.
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

PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}


class Reader(Protocol):
    """A store as the node sees it."""

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]: ...
    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None: ...


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
        self._user = DirectoryStore(root)

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
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadHarness]:
        if request.param == "directory":
            yield DirectoryHarness(tmp_path)
            return
        with ApiServer(tmp_path) as api:
            yield ScriptedHarness(api)

    def test_a_config_map_is_its_texts(self, place: ReadHarness) -> None:
        template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "eos"}}
        assert place.store.get_config_map(place.namespace, "eos") is None
        place.apply(template | {"data": {"template": ODD}})
        assert place.store.get_config_map(place.namespace, "eos") == {"template": ODD}
        place.apply(template)
        assert place.store.get_config_map(place.namespace, "eos") == {}
        place.remove("ConfigMap", "eos")
        assert place.store.get_config_map(place.namespace, "eos") is None

    def test_a_watched_secret_is_told_at_once_and_at_every_change(self, place: ReadHarness) -> None:
        place.apply(manifest())
        with reading(place) as following:
            seen = [following()]
            place.apply(manifest(data={"oauth": "MQ=="}))
            seen.append(following())
            place.remove("Secret", "token")
            seen.append(following())
            place.apply(manifest(data={"oauth": "MQ=="}))
            seen.append(following())
        assert [oauth(secret) for secret in seen] == ['{"refresh_token":"r1"}', "1", None, "1"]
        first, second, _, again = seen
        assert first is not None
        assert second is not None
        assert again is not None
        assert (first.namespace, first.name) == (place.namespace, "token")
        assert first.uid == second.uid != again.uid
        assert len({first.resource_version, second.resource_version, again.resource_version}) == 3

    def test_an_absent_secret_can_be_watched(self, place: ReadHarness) -> None:
        with reading(place) as following:
            assert following() is None
            place.apply(manifest())
            assert oauth(following()) is not None

    def test_only_the_changes_of_this_secret_are_told(self, place: ReadHarness) -> None:
        place.apply(manifest())
        with reading(place) as following:
            following()
            place.apply(manifest())
            place.apply(manifest("tokens"))
            place.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "token"}})
            place.remove("Secret", "tokens")
            place.apply(manifest(data={"oauth": "Mg=="}))
            assert oauth(following()) == "2"

    def test_a_watched_secret_shows_its_texts_and_only_our_annotations(
        self, place: ReadHarness
    ) -> None:
        place.apply(manifest(type=COMPANION_TYPE))
        with reading(place) as following:
            told = following()
        assert told is not None
        assert told.type == COMPANION_TYPE
        assert told.annotations == {IS_TOKEN: "true"}
        assert told.data.keys() == {"oauth"}

    def test_two_who_watch_are_told_the_same(self, place: ReadHarness) -> None:
        place.apply(manifest())
        with reading(place) as one, reading(place) as other:
            assert one() == other()
            place.remove("Secret", "token")
            assert one() is None
            assert other() is None

    def test_a_stop_beforehand_is_a_watch_that_says_nothing(self, place: ReadHarness) -> None:
        stop = threading.Event()
        stop.set()
        assert list(place.store.watch_secret(place.namespace, "token", stop)) == []


def reading(place: ReadHarness) -> AbstractContextManager[Callable[[], Secret | None]]:
    return watched(lambda stop: place.store.watch_secret(place.namespace, "token", stop))


def oauth(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["oauth"].reveal()
