"""One run: two replicas, one API server, one authorization server, some users and their faults."""

from dataclasses import dataclass
from random import Random

from csidriver.core import names
from csidriver.core.refresh import grant_secret
from csidriver.core.status import Status
from tests.simulator.cluster import Cluster
from tests.simulator.invariants import Invariants
from tests.simulator.kernel import START, Kernel
from tests.simulator.lease import Seat
from tests.simulator.network import Network
from tests.simulator.plan import Plan
from tests.simulator.replica import Replica
from tests.simulator.server import Server
from tests.simulator.users import Users


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    plan: Plan
    refreshes: int
    violations: tuple[str, ...]
    trace: tuple[tuple[float, str, str], ...]


def simulate(seed: int, kind: str = "") -> Result:
    """One run, the same for the same seed."""
    plan = Plan.drawn(seed, kind)
    network = _surroundings(plan)
    kernel, rng = network.kernel, network.rng
    users, seat = Users(network), Seat()
    for number in range(plan.secrets):
        users.found(f"token-{number}")
    replicas = [Replica(network, f"pod-{n}.0", plan.offsets[n], seat) for n in range(2)]
    for replica in replicas:
        kernel.at(START + rng.uniform(0.0, 3.0), replica.boot)
    for _ in range(plan.user_acts):
        kernel.at(START + rng.uniform(0.0, plan.horizon), users.act)
    for _ in range(plan.thefts):
        kernel.at(START + rng.uniform(0.0, plan.horizon), users.rob)
    if plan.death_at:
        kernel.at(START + plan.death_at * plan.horizon, lambda: _kill(replicas))
    kernel.run(START + plan.horizon + plan.peace)
    if not kernel.violations:
        _at_the_end(network, kernel)
    return Result(plan, network.invariants.refreshes, tuple(kernel.violations), tuple(kernel.trace))


def _surroundings(plan: Plan) -> Network:
    kernel, rng = Kernel(), Random(plan.seed + 1)  # noqa: S311 - repeatable on purpose
    cluster, invariants = Cluster(kernel), Invariants(kernel, plan)
    cluster.witness = invariants.wrote
    server = Server(plan.policy, plan.life, plan.window, plan.lies, plan.introspects)
    network = Network(plan, rng, kernel, cluster, server, invariants)
    for _ in range(plan.outages):
        at = START + rng.uniform(30.0, max(31.0, plan.horizon))
        if plan.kind == "calm":  # shorter than lead less three retries
            network.server_outages[:] = [(at, at + plan.life / 40)]
        elif rng.random() < 0.5:
            network.server_outages.append((at, at + rng.uniform(1.0, plan.life)))
        else:
            network.store_outages.append((at, at + rng.uniform(1.0, 150.0)))
    return network


def _kill(replicas: list[Replica]) -> None:
    for replica in replicas:
        if replica.working:
            replica.die(pod=True, back_after=3600.0)
            return


def _at_the_end(network: Network, kernel: Kernel) -> None:
    cluster = network.cluster
    for ref in cluster.refs():
        story = network.invariants.stories[ref]
        stored = cluster.secrets.get((names.DRIVER_NAMESPACE, ref.grant))
        if stored is None:
            kernel.violate(f"6: {ref.name} has no grant in the end")
            continue
        grant = grant_secret.from_secret(stored)
        if story.spooled and story.spooled[1] == story.live:
            kernel.violate(f"3: the reply {story.spooled[2]} was left in the spool")
        if story.wanted and story.wanted not in story.known:
            kernel.violate(f"4: {story.wanted} was never adopted")
        if not _is_true(grant.status, story.live, network):
            kernel.violate(f"6: {ref.name} ends as {grant.status.value} without a cause")
        # The run may end between the write of a grant and that of its companion.
        settled = grant.issued_at < kernel.now - 5.0 - max(map(abs, network.plan.offsets))
        if settled and story.shown != story.generation:
            kernel.violate(f"13: the companion of {ref.name} stays behind")
        if grant.status is Status.READY and grant.expires_at < kernel.now - 60:
            kernel.violate(f"11: {ref.name} is Ready and not refreshed")


def _is_true(status: Status, live: str, network: Network) -> bool:
    """Whether a token's last status has a cause, once all faults are over."""
    server, now = network.server, network.kernel.now
    if status is Status.READY:
        return True
    doubted = any(story.doubted(live) for story in network.invariants.stories.values())
    dead, copied = (
        not server.accepts(live, now),
        any(story.copied and story.live == live for story in network.invariants.stories.values()),
    )
    causes = {
        Status.LOST_ROTATION: dead or live in server.lied,
        Status.NEEDS_REAUTH: dead or live in server.lied,
        Status.UNCERTAIN: doubted,
        Status.DUPLICATE_GRANT: copied,
    }
    return causes.get(status, False)
