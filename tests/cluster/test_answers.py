"""The API server of our own tests answers as the real one does, in all that the node asks of it."""

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import urllib3

from tests.adapters.apiserver import ApiServer
from tests.cluster.controlplane import ControlPlane

TOOLS = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")


class Server(Protocol):
    """One namespace of an API server, and a token that it takes."""

    url: str
    ca: Path
    token: str
    namespace: str

    def put(self, name: str, value: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def forget(self) -> None: ...


class Scripted:
    def __init__(self, api: ApiServer) -> None:
        self.url, self.ca, self.token, self.namespace = api.url, api.pem, "t", "answers"
        self._api = api
        api.tokens.add(self.token)

    def put(self, name: str, value: str) -> None:
        self._api.put(name, {"value": value}, namespace=self.namespace)

    def remove(self, name: str) -> None:
        self._api.remove(name, namespace=self.namespace)

    def forget(self) -> None:
        self._api.forget()


class Real:
    def __init__(self, plane: ControlPlane) -> None:
        user = json.loads(plane.kubeconfig.read_text())["users"][0]["user"]
        self.url, self.ca, self.token = plane.server, plane.ca, user["token"]
        self.namespace = f"answers-{secrets.token_hex(4)}"
        self._plane = plane
        plane.kubectl("create", "namespace", self.namespace)

    def put(self, name: str, value: str) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{name}?fieldManager=test"
        data = {"value": base64.b64encode(value.encode()).decode()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        self._plane.api("PATCH", path, body, "application/apply-patch+yaml")

    def remove(self, name: str) -> None:
        self._plane.kubectl("delete", "secret", name, f"--namespace={self.namespace}")

    def forget(self) -> None:
        """By a restart: what an API server tells to those who watch, it keeps in memory."""
        self._plane.stop_api_server(kill=True)
        self._plane.start_api_server()


@pytest.fixture(params=["scripted", pytest.param("real", marks=TOOLS)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "real":
        yield Real(request.getfixturevalue("fragile_plane"))
        return
    with ApiServer(tmp_path) as api:
        yield Scripted(api)


def ask(server: Server, path: str, token: str = "") -> tuple[int, list[dict[str, Any]]]:
    """Status and lines of an answer."""
    headers = {"Authorization": f"Bearer {token or server.token}"}
    url = f"{server.url}/api/v1/namespaces/{server.namespace}/{path}"
    with urllib3.PoolManager(ca_certs=str(server.ca), retries=False) as pool:
        answer = pool.request("GET", url, headers=headers, timeout=10.0)
    return answer.status, [json.loads(line) for line in answer.data.splitlines()]


def listed(server: Server, name: str) -> tuple[str, list[dict[str, Any]]]:
    """The version of a list of one name, and its items."""
    status, [document] = ask(server, f"secrets?fieldSelector=metadata.name%3D{name}")
    assert status == 200
    return document["metadata"]["resourceVersion"], document["items"]


def watched(server: Server, name: str, version: str) -> list[dict[str, Any]]:
    """Return the changes of a watch of one second."""
    query = f"watch=true&resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"
    status, events = ask(server, f"secrets?fieldSelector=metadata.name%3D{name}&{query}")
    assert status == 200
    return events


def test_what_is_not_there_and_who_is_not_known(server: Server) -> None:
    assert ask(server, "configmaps/absent")[0] == 404
    assert ask(server, "configmaps/absent", token="nonsense")[0] == 401
    assert ask(server, "secrets?watch=true&resourceVersion=1", token="nonsense")[0] == 401


def test_a_list_has_a_version_and_only_what_was_asked_for(server: Server) -> None:
    version, items = listed(server, "one")
    assert version.isdecimal()
    assert items == []
    server.put("one", "a")
    server.put("two", "b")
    version, [item] = listed(server, "one")
    metadata = item["metadata"]
    assert (metadata["namespace"], metadata["name"]) == (server.namespace, "one")
    assert metadata["uid"]
    assert int(metadata["resourceVersion"]) < int(version)
    assert item["data"] == {"value": "YQ=="}


def test_a_watch_tells_what_came_after_its_version(server: Server) -> None:
    server.put("one", "a")
    version, _ = listed(server, "one")
    server.put("one", "b")
    server.put("one", "b")
    server.put("two", "b")
    server.remove("one")
    server.put("one", "c")
    events = watched(server, "one", version)
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED", "ADDED"]
    objects = [event["object"] for event in events]
    assert [content["data"]["value"] for content in objects] == ["Yg==", "Yg==", "Yw=="]
    versions = [int(content["metadata"]["resourceVersion"]) for content in objects]
    assert [int(version), *versions] == sorted({int(version), *versions})
    changed, removed, again = (content["metadata"]["uid"] for content in objects)
    assert changed == removed != again


def test_a_watch_may_have_nothing_to_tell(server: Server) -> None:
    version, _ = listed(server, "one")
    assert watched(server, "one", version) == []


def test_an_expired_version_is_told_in_the_stream(server: Server) -> None:
    version, _ = listed(server, "one")
    server.put("one", "a")
    server.forget()
    [event] = watched(server, "one", version)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert event["object"]["kind"] == "Status"
