"""Replies that fill a Secret to its brim, and more, on an API server that has a limit."""

from pathlib import Path

import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.status import Status
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.issuer.policy import Policy
from tests.refresher.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS, NAME = "large", "hello"


@pytest.mark.parametrize("size", [600_000, 1_000_000])
def test_a_reply_of_any_size_is_stored(cluster: Cluster, tmp_path: Path, size: int) -> None:
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    with Bench(tmp_path, Policy(lifetime=3600.0, extra={"id_token": "i" * size})) as bench:
        bench.start(KubernetesStore(cluster.client(), Namespaces(sources=(NS,))))
        user.create(NAME, bench.issuer.seed("my-app"))
        until(lambda: user.generation(NAME) == 2 and user.is_final(NAME), pause=0.1)
        user.refresh_repeatedly(NAME)
        until(lambda: user.is_final(NAME))
        (*_, last) = bench.issuer.presentations()
    grant = user.grant(NAME)
    assert grant is not None
    assert (grant.status, grant.live_hash) == (Status.READY, last.successor_hash)
