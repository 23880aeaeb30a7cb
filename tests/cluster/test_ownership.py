"""A namespace is deleted and made again under its name, on a real API server.

No byte of the earlier owner's tokens is sent, served or mirrored for the later one.
"""

from contextlib import closing
from pathlib import Path

import pytest

from csidriver.core.annotations import EXPIRES_AT
from csidriver.core.status import Status
from tests.broker.running import NodeClient
from tests.cluster.broker_role import BrokerRole, create_namespace, create_pod
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import page_of, running
from tests.refresher.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS, NAME = "handed-over", "hello"


def given(user: UserNamespace) -> str:
    """All that nodes, and users in the namespace, can read of the token."""
    seen = user.companion(NAME)
    token = "" if seen is None or seen.token is None else seen.token.value.reveal()
    return token + user.kubectl("get", "secrets", "--output=json")


def test_a_later_namespace_gets_nothing_of_an_earlier_one(cluster: Cluster, tmp_path: Path) -> None:
    """The refresher is away while the namespace changes hands, so that a broker meets leftovers."""
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    with Bench(tmp_path) as bench:
        flags = cluster.refresher_flags(bench.issuers, tmp_path / "spool")
        seed = bench.issuer.seed("my-app")
        user.apply(NAME, seed)
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            until(lambda: user.generation(NAME) == 2 and user.is_mirrored(NAME))
        grant = user.grant(NAME)
        assert grant is not None
        assert grant.document.access_token is not None
        assert grant.document.refresh_token is not None
        access, refresh = (
            grant.document.access_token.reveal(),
            grant.document.refresh_token.reveal(),
        )
        sent = len(bench.issuer.presentations())
        cluster.plane.make_namespace_again(NS)
        user.apply(NAME, seed)
        with closing(BrokerRole(cluster.plane, tmp_path)) as broker:
            broker.start()
            refuse_to_node(broker, user)
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            until(lambda: access not in given(user), "it is withheld")
            assert refresh not in given(user)
            seen = until(lambda: user.companion(NAME), "a status")
            assert (seen.status, seen.token) == (Status.NEEDS_REAUTH, None)
            assert EXPIRES_AT not in user.source(NAME).annotations
            assert len(bench.issuer.presentations()) == sent
            user.apply(NAME, bench.issuer.seed("my-app"))
            until(lambda: user.is_final(NAME) and user.is_mirrored(NAME), "the new login")
            assert len(bench.issuer.presentations()) == sent + 1
            assert access not in given(user)
            assert refresh not in given(user)
            assert "Traceback" not in log.read_text("utf-8")


def refuse_to_node(broker: BrokerRole, user: UserNamespace) -> None:
    """A broker finds the companion that is left over, with its token."""
    seen = user.companion(NAME)
    assert seen is not None
    assert seen.token is not None
    create_namespace(broker.plane, NS)
    pod = create_pod(broker.plane, NS, "web", "node-1", NAME)
    token, authority = broker.plugin_token("node-1"), broker.authorities.read_text("ascii")
    with NodeClient(broker.port, authority, token) as node:
        node.subscribe(1, pod, NAME)
        assert "belongs to another namespace of this name" in node.state(1, "damaged").problem
        assert len(node.updates) == 1
