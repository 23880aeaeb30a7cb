"""The contract of a source of companions for the node: a store that it watches, or brokers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret
from csidriver.node.companions.secret_watches import SecretWatches
from tests.broker.conftest import WEB
from tests.broker.fakes import HELLO, TOKENS, FakeCluster, companion, review
from tests.broker.running import RunningBroker
from tests.kubectl_store import KubectlStore
from tests.node.companions.nodes import ClientNode, States
from tests.waiting import until

MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}}


class WatchedFolder:
    def __init__(self, root: Path) -> None:
        self._store = DirectoryStore(root, poll=0.005)
        self._user = KubectlStore(root)
        (root / WEB.namespace).mkdir(parents=True)
        self.source = SecretWatches(self._store, TOKENS)

    def write(self, written: Companion) -> None:
        name, known = written.source.companion, written.annotations()
        self._apply(Secret(TOKENS, name, "", "", COMPANION_SECRET_TYPE, known, written.data()))

    def damage(self, written: Companion) -> None:
        self._apply(Secret(TOKENS, written.source.companion, type=COMPANION_SECRET_TYPE))

    def _apply(self, secret: Secret) -> None:
        self._user.apply(secret.to_manifest(), TOKENS)

    def delete(self, ref: SourceRef) -> None:
        self._user.remove("Secret", TOKENS, ref.companion)

    def write_template(self, data: dict[str, str]) -> None:
        self._user.apply(MANIFEST | {"data": data}, WEB.namespace)

    def namespace_uid(self) -> str:
        return self._store.get_namespace_uid(WEB.namespace)


class Brokers:
    def __init__(self, node: ClientNode, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.source = node.client

    def write(self, written: Companion) -> None:
        self.cluster.write(written)

    def damage(self, written: Companion) -> None:
        self.cluster.write(written, **{"oauth2.csi.cern.ch/generation": "many"})

    def delete(self, ref: SourceRef) -> None:
        self.cluster.delete(ref)

    def write_template(self, data: dict[str, str]) -> None:
        self.cluster.config_maps[WEB.namespace, "page"] = data

    def namespace_uid(self) -> str:
        return self.cluster.namespaces[WEB.namespace]


SourceHarness = WatchedFolder | Brokers


class TestCompanions:
    @pytest.fixture(params=["directory", "brokers"])
    def harness(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceHarness]:
        if request.param == "directory":
            yield WatchedFolder(tmp_path / "store")
            return
        cluster = FakeCluster()
        cluster.reviews["of-a"] = review("node-a")
        cluster.add_pod(WEB, "node-a", "hello-token", templateConfigMapName="page")
        with (
            RunningBroker(cluster) as one,
            RunningBroker(cluster) as other,
            ClientNode(tmp_path, one, other) as node,
        ):
            until(lambda: one.metric("streams") == other.metric("streams") == 1)
            yield Brokers(node, cluster)

    def test_a_companion_is_reported_and_after_it_each_change(self, harness: SourceHarness) -> None:
        with following(harness) as states:
            states.until(lambda state: state is None)
            harness.write(companion(1))
            assert states.generation(1) == companion(1)
            harness.write(companion(2))
            assert states.generation(2) == companion(2)
            harness.delete(HELLO)
            states.until(lambda state: state is None)
            harness.write(companion(3))
            states.generation(3)

    def test_a_damaged_companion_is_an_error_until_it_is_mended(
        self, harness: SourceHarness
    ) -> None:
        harness.write(companion(1))
        with following(harness) as states:
            states.generation(1)
            harness.damage(companion(2))
            states.until(lambda state: isinstance(state, InvalidSecret))
            harness.write(companion(3))
            states.generation(3)

    def test_nothing_is_reported_after_the_end(self, harness: SourceHarness) -> None:
        harness.write(companion(1))
        with following(harness) as states:
            states.generation(1)
        harness.write(companion(2))
        with following(harness) as later:
            later.generation(2)
        assert companion(2) not in states.states

    def test_a_pod_has_its_template_and_tokens_of_its_namespace(
        self, harness: SourceHarness
    ) -> None:
        assert harness.source.get_config_map(WEB, "page") is None
        harness.write_template({"template": "x"})
        assert harness.source.get_config_map(WEB, "page") == {"template": "x"}
        uid = harness.namespace_uid()
        harness.write(companion(1, namespace_uid=uid))
        with following(harness) as states:
            states.generation(1)
            assert harness.source.get_namespace_uid(WEB, HELLO.name) == uid


@contextmanager
def following(harness: SourceHarness) -> Iterator[States]:
    states = States()
    end: Callable[[], None] = harness.source.follow(HELLO, WEB, states.receive)
    try:
        yield states
    finally:
        end()
