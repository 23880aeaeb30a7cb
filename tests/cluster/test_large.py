"""Replies that fill a Secret to its brim, and more, on an API server that has a limit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from csidriver.core.status import Status
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.killable_refresher import NAME, NEXT, KillableRefresher, KillTestSetup
from tests.issuer.policy import Policy
from tests.node.killable_plugin import ForkServer
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)


@pytest.fixture
def fork_server() -> Iterator[ForkServer]:
    with ForkServer("tests.cluster.killable_child") as fork_server:
        yield fork_server


@pytest.mark.parametrize("size", [300_000, 600_000, 1_000_000])
def test_a_reply_of_any_size_is_stored(
    cluster: Cluster, fork_server: ForkServer, tmp_path: Path, size: int
) -> None:
    policy = Policy(lifetime=NEXT, extra={"id_token": "i" * size})
    with Bench(tmp_path, policy) as bench:
        one = KillableRefresher(KillTestSetup(cluster, bench, fork_server, tmp_path))
        try:
            one.prepare_due_token()
            one.launch(watched=False)
            until(lambda: one.user.generation(NAME) > 2 and one.user.is_final(NAME), pause=0.3)
        finally:
            one.kill()
        (_, last) = one.presentations()
        grant = one.grant()
        assert grant is not None
        assert (grant.status, grant.live_hash) == (Status.READY, last.successor_hash)
        seen = one.user.companion(NAME)
        assert seen is not None
        assert seen.generation == grant.generation
