"""A namespace is deleted and made again under its name, on a real API server.

No byte of the earlier owner's tokens is sent, served or mirrored for the later one.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from csidriver.core.annotations import EXPIRES_AT
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.broker.running import NodeClient
from tests.cluster.broker_role import BrokerRole, create_namespace, create_pod
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import page_of, running
from tests.refresher.bench import Bench, manifest, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NAME = "hello"


@dataclass
class Handover:
    """One namespace name and what its later owner does there."""

    user: UserNamespace
    seed: Sensitive
    act: "Act"

    def apply(self, document: str) -> None:
        self.user.kubectl("apply", stdin=manifest(NAME, "", document))

    def given(self) -> str:
        """All that nodes, and users in the namespace, can read of the token."""
        seen = self.user.companion(NAME)
        token = "" if seen is None or seen.token is None else seen.token.value.reveal()
        return token + self.user.kubectl("get", "secrets", "--output=json")

    def withholds(self, secret: str) -> bool:
        return secret not in self.given()


Act = Callable[[Handover, Bench], None]


def old_seed(handover: Handover, _: Bench) -> None:
    handover.apply(f'{{"refresh_token":"{handover.seed.reveal()}"}}')


def new_login(handover: Handover, bench: Bench) -> None:
    handover.user.apply(NAME, bench.issuer.seed("my-app"))


OWNERS = (old_seed, new_login)


def test_a_later_namespace_gets_nothing_of_an_earlier_one(cluster: Cluster, tmp_path: Path) -> None:
    """The refresher is away while the namespaces change hands, so that a broker meets leftovers."""
    with Bench(tmp_path) as bench:
        flags = cluster.refresher_flags(bench.issuers, tmp_path / "spool")
        cluster.reset_namespaces(*(act.__name__.replace("_", "-") for act in OWNERS))
        handovers = [start(cluster, bench, act) for act in OWNERS]
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            until(lambda: all(h.user.generation(NAME) == 2 for h in handovers))
            until(lambda: all(h.user.is_mirrored(NAME) for h in handovers))
        earlier = [grant(h) for h in handovers]
        sent = len(bench.issuer.presentations())
        hand_over(cluster, handovers, bench)
        with closing(BrokerRole(cluster.plane, tmp_path)) as broker:
            broker.start()
            for handover in handovers:
                refuse_to_node(broker, handover)
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            for handover, (access, refresh) in zip(handovers, earlier, strict=True):
                until(partial(handover.withholds, access), "it is withheld")
                assert refresh not in handover.given()
            fresh = handovers[OWNERS.index(new_login)].user
            until(lambda: fresh.is_final(NAME) and fresh.is_mirrored(NAME), "the new login")
            assert len(bench.issuer.presentations()) == sent + 1
            seeded = handovers[OWNERS.index(old_seed)].user
            seen = until(lambda: seeded.companion(NAME), "a status")
            assert (seen.status, seen.token) == (Status.NEEDS_REAUTH, None)
            assert EXPIRES_AT not in seeded.source(NAME).annotations
            assert "Traceback" not in log.read_text("utf-8")


def start(cluster: Cluster, bench: Bench, act: Act) -> Handover:
    namespace = act.__name__.replace("_", "-")
    user, seed = UserNamespace(cluster, namespace), bench.issuer.seed("my-app")
    user.apply(NAME, seed)
    return Handover(user, seed, act)


def hand_over(cluster: Cluster, handovers: list[Handover], bench: Bench) -> None:
    for handover in handovers:
        cluster.plane.make_namespace_again(handover.user.namespace)
        handover.act(handover, bench)


def grant(handover: Handover) -> tuple[str, str]:
    found = handover.user.grant(NAME)
    assert found is not None
    assert found.document.access_token is not None
    assert found.document.refresh_token is not None
    return found.document.access_token.reveal(), found.document.refresh_token.reveal()


def refuse_to_node(broker: BrokerRole, handover: Handover) -> None:
    """A broker finds the companion that is left over, with its token."""
    seen = handover.user.companion(NAME)
    assert seen is not None
    assert seen.token is not None
    namespace = handover.user.namespace
    create_namespace(broker.plane, namespace)
    pod = create_pod(broker.plane, namespace, "web", "node-1", NAME)
    token, authority = broker.plugin_token("node-1"), broker.authorities.read_text("ascii")
    with NodeClient(broker.port, authority, token) as node:
        node.subscribe(1, pod, NAME)
        assert "belongs to another namespace of this name" in node.state(1, "damaged").problem
        assert len(node.updates) == 1
