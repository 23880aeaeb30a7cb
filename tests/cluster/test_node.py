"""The node at a real API server: one that serves, stops, dies, freezes, forgets or denies."""

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from csidriver.adapters.rest import RestStore, Timings
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import StoreUnavailable
from tests.cluster.controlplane import ControlPlane
from tests.cluster.noderole import DRIVER, NAME, TOKENS, NodeRole
from tests.node.plugin import SOURCE, Node, companion, eventually, token

pytestmark = [pytest.mark.tools("etcd", "kube-apiserver", "kubectl"), pytest.mark.mounts]

QUICK = Timings(connect=1.0, read=2.0, poll=0.05)
# Pauses between two attempts are up to 30 s after some failures.
BACK = 40.0


class ClusterNode(Node):
    """A node whose plugin reads from a real API server, as deploy/ allows it."""

    def __init__(self, role: NodeRole) -> None:
        super().__init__()
        self.role = role
        self.plugin_store = RestStore(role.credentials, QUICK)  # type: ignore[assignment] # narrower
        self.settings = replace(self.settings, publish_wait=1.0)

    def tell(self, new: Companion, ref: SourceRef = SOURCE) -> None:
        self.role.write_companion(new, ref)


@pytest.fixture(scope="module")
def role(fragile_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> NodeRole:
    return NodeRole(fragile_plane, tmp_path_factory.mktemp("role"))


@pytest.fixture
def node(role: NodeRole) -> Iterator[ClusterNode]:
    """A running plugin with one published volume."""
    node = ClusterNode(role)
    try:
        node.tell(companion(token("at-1"), source_uid=f"uid-{secrets.token_hex(4)}"))
        node.start()
        node.publish(node.request())
        assert node.content() == "at-1"
        yield node
    finally:
        node.close()


def rotates(node: ClusterNode, value: str, *volumes: str) -> None:
    """A new source's token reaches the files: generations begin anew."""
    node.tell(companion(token(value), source_uid=f"uid-{secrets.token_hex(4)}"))
    for volume in volumes:
        eventually(lambda volume=volume: node.content(volume) == value, "rotation", BACK)  # type: ignore[misc]


def test_a_volume_is_published_rotated_and_unpublished(node: ClusterNode) -> None:
    inode = node.file().stat().st_ino
    rotates(node, "at-2", "v1")
    node.publish(node.request())
    assert (node.content(), node.file().stat().st_ino) == ("at-2", inode)
    node.role.plane.kubectl("delete", "secret", SOURCE.companion, f"--namespace={TOKENS}")
    node.publish(node.request())
    assert node.content() == "at-2"
    rotates(node, "at-3", "v1")
    node.unpublish()
    eventually(node.nothing_left, "the end of all")


def test_a_template_comes_from_a_config_map(node: ClusterNode) -> None:
    request = node.request("v2", {"templateConfigMapName": "page"})
    code, text = node.refused(request)
    assert code is grpc.StatusCode.NOT_FOUND
    assert "ConfigMap alice/page" in text
    plane = node.role.plane
    plane.kubectl("create", "namespace", "alice")
    page = "--from-literal=template=Bearer $(ACCESS_TOKEN)"
    plane.kubectl("create", "configmap", "page", page, "--namespace=alice")
    node.publish(request)
    assert node.content("v2") == "Bearer at-1"


def test_volumes_outlive_an_outage_and_a_restart_within_it(node: ClusterNode) -> None:
    node.role.plane.stop_api_server(kill=True)
    node.publish(node.request())
    node.publish(node.request("v2"))
    assert node.content("v2") == "at-1"
    assert_unreachable(node, node.request("v3", {"secretName": "other"}))
    node.stop()
    assert node.content() == "at-1"
    node.start()
    node.publish(node.request())
    assert (node.content(), node.content("v2")) == ("at-1", "at-1")
    assert_unreachable(node, node.request("v4"))
    node.role.plane.start_api_server()
    rotates(node, "at-2", "v1", "v2")
    node.publish(node.request("v4"))
    assert node.content("v4") == "at-2"


def assert_unreachable(node: ClusterNode, request: object) -> None:
    code, text = node.refused(request)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert f"API server {node.role.plane.server}: connection refused" in text


def test_news_arrive_after_a_server_has_gone_in_order(node: ClusterNode) -> None:
    node.role.plane.stop_api_server()
    node.publish(node.request())
    node.role.plane.start_api_server()
    rotates(node, "at-2", "v1")


def test_a_token_that_was_revoked_is_replaced_by_the_next_one(node: ClusterNode) -> None:
    plane = node.role.plane
    plane.kubectl("delete", "serviceaccount", NAME, f"--namespace={DRIVER}")
    # The server remembers for some seconds whom it has accepted.
    restarted(plane)
    node.role.deploy()
    code, text = eventually_refused(node, node.request("v2", {"secretName": "other"}))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "does not accept our credentials (401)" in text
    node.publish(node.request())
    assert node.content() == "at-1"
    node.role.renew()
    rotates(node, "at-2", "v1")


def eventually_refused(node: ClusterNode, request: object) -> tuple[grpc.StatusCode, str]:
    told: list[tuple[grpc.StatusCode, str]] = []

    def is_refused() -> bool:
        told.append(node.refused(request))
        return told[-1][0] is grpc.StatusCode.PERMISSION_DENIED

    eventually(is_refused, "a refusal", BACK)
    return told[-1]


def restarted(plane: ControlPlane) -> None:
    """A server that has just started tells nothing of what was before it."""
    plane.stop_api_server(kill=True)
    plane.start_api_server()


@pytest.fixture
def uncached(fragile_plane: ControlPlane) -> Iterator[None]:
    """Watches come from etcd itself."""
    flags = fragile_plane.flags
    fragile_plane.flags = (*flags, "--watch-cache=false")
    restarted(fragile_plane)
    yield
    fragile_plane.flags = flags
    restarted(fragile_plane)


def test_a_version_from_before_a_restart_leads_to_a_new_list(
    role: NodeRole, caplog: pytest.LogCaptureFixture
) -> None:
    assert_listed_anew(role, caplog, restarted)


@pytest.mark.usefixtures("uncached")
def test_a_compacted_version_leads_to_a_new_list(
    role: NodeRole, caplog: pytest.LogCaptureFixture
) -> None:
    assert_listed_anew(role, caplog, ControlPlane.compact)


def assert_listed_anew(
    role: NodeRole, caplog: pytest.LogCaptureFixture, forget: Callable[[ControlPlane], object]
) -> None:
    ref = SourceRef("alice", secrets.token_hex(4))
    role.write_companion(companion(token("at-1")), ref)
    with watching(role, ref) as watch:
        assert value(next(watch)) == "at-1"
        # The list was answered, and its version has not been used.
        for generation in (2, 3):
            role.write_companion(companion(token(f"at-{generation}"), generation), ref)
        forget(role.plane)
        caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
        assert value(next(watch)) == "at-3"
        asked = ["watch=true" in line for line in caplog.messages if "/secrets?" in line]
        assert asked == [True, False]
        role.write_companion(companion(token("at-4"), 4), ref)
        assert value(next(watch)) == "at-4"


@contextlib.contextmanager
def watching(role: NodeRole, ref: SourceRef) -> Iterator[Iterator[Secret | None]]:
    """A watch; one that waits for ever ends as a failure, too."""
    over = threading.Event()
    limit = threading.Timer(BACK, over.set)
    limit.start()
    store = RestStore(role.credentials, replace(QUICK, silence=1.0))
    try:
        yield store.watch_secret(TOKENS, ref.companion, over)
    finally:
        limit.cancel()
        over.set()


def value(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["access_token"].reveal()


def test_a_frozen_server_is_noticed(role: NodeRole, caplog: pytest.LogCaptureFixture) -> None:
    """Its kernel still acknowledges what is sent to it: only patience ends this."""
    ref = SourceRef("alice", secrets.token_hex(4))
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
    with watching(role, ref) as watch, ThreadPoolExecutor() as pool:
        assert next(watch) is None
        news = pool.submit(next, watch)
        eventually(lambda: any("watch=true" in line for line in caplog.messages), "the watch")
        with frozen(role.plane), pytest.raises(StoreUnavailable, match="no answer in time"):
            news.result()
    role.write_companion(companion(token("at-1")), ref)
    with watching(role, ref) as watch:
        assert value(next(watch)) == "at-1"


@contextlib.contextmanager
def frozen(plane: ControlPlane) -> Iterator[None]:
    process = plane.pid("kube-apiserver")
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
