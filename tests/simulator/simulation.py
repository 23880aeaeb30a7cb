"""One run: two replicas, one API server, one authorization server, some users and their faults."""

from dataclasses import dataclass
from random import Random

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.refresh import grant_secret
from csidriver.core.status import Status
from tests.simulator.cluster import Cluster
from tests.simulator.event_loop import START, EventLoop
from tests.simulator.grants.checks import GrantChecks
from tests.simulator.grants.grant_users import GrantUsers
from tests.simulator.invariants import Invariants
from tests.simulator.lease import StoredLease
from tests.simulator.network import Network
from tests.simulator.parameters import RunParameters
from tests.simulator.readiness import ReadinessCheck
from tests.simulator.replica import Replica
from tests.simulator.server import Server
from tests.simulator.users import Users


@dataclass(frozen=True)
class RunResult:
    parameters: RunParameters
    refreshes: int
    violations: tuple[str, ...]
    trace: tuple[tuple[float, str, str], ...]


def simulate(seed: int, scenario: str = "", *, mixed: bool = False) -> RunResult:
    """Simulate one run, always the same for a seed; `mixed`: with grants of all types."""
    parameters = RunParameters.draw(seed, scenario, mixed=mixed)
    network = build_network(parameters)
    _plan_outages(network)
    loop, rng = network.loop, network.rng
    users, lease = Users(network), StoredLease()
    for number in range(parameters.secrets):
        users.create_secret(f"token-{number}")
    grant_users = GrantUsers(network, users)
    grant_users.create_secrets()
    replicas = [Replica(network, f"pod-{n}.0", parameters.offsets[n], lease) for n in range(2)]
    for replica in replicas:
        loop.call_at(START + rng.uniform(0.0, 3.0), replica.boot)
    for _ in range(parameters.user_actions):
        loop.call_at(START + rng.uniform(0.0, parameters.horizon), users.do_something)
    grant_users.plan_actions()
    for _ in range(parameters.grant_deletions):
        loop.call_at(START + rng.uniform(0.0, parameters.horizon), users.delete_grant)
    if parameters.death_at:
        loop.call_at(
            START + parameters.death_at * parameters.horizon, lambda: _kill_leader(replicas)
        )
    loop.run_until(START + parameters.horizon + parameters.quiet_end)
    if not loop.violations:
        _check_end(network, loop)
    return RunResult(
        parameters, network.invariants.refreshes, tuple(loop.violations), tuple(loop.trace)
    )


def build_network(parameters: RunParameters) -> Network:
    loop, rng = EventLoop(), Random(parameters.seed + 1)  # noqa: S311 - repeatable on purpose
    cluster = Cluster(loop=loop)
    invariants = Invariants(loop, parameters, cluster)
    readiness = ReadinessCheck(loop, cluster)

    def on_write(writer: str, before: Secret | None, after: Secret | None) -> None:
        invariants.on_write(writer, before, after)
        readiness.on_write(writer, after)
        network.invariants.grant_checks.on_write(writer, before, after)

    cluster.on_write = on_write
    server = Server(
        parameters.life,
        parameters.window,
        parameters.policy,
        parameters.introspects,
        false_refusal_rate=parameters.false_refusal,
    )
    network = Network(parameters, rng, loop, cluster, server, invariants, readiness)
    invariants.grant_checks = GrantChecks(network)
    return network


def _plan_outages(network: Network) -> None:
    parameters, rng = network.parameters, network.rng
    for _ in range(parameters.outages):
        at = START + rng.uniform(30.0, max(31.0, parameters.horizon))
        if parameters.scenario == "calm":  # shorter than lead less three retries
            network.server_outages[:] = [(at, at + parameters.life / 40)]
        elif rng.random() < 0.5:
            network.server_outages.append((at, at + rng.uniform(1.0, parameters.life)))
        else:
            network.store_outages.append((at, at + rng.uniform(1.0, 150.0)))


def _kill_leader(replicas: list[Replica]) -> None:
    for replica in replicas:
        if replica.working:
            replica.die(pod=True, back_after=3600.0)
            return


def _check_end(network: Network, loop: EventLoop) -> None:
    cluster = network.cluster
    for ref in cluster.refs():
        history = network.invariants.histories[ref]
        source = cluster.secrets[ref.namespace, ref.name]
        is_repeatable = annotations.GRANT_TYPE in source.annotations
        problem = network.invariants.grant_checks.check_end(ref) if is_repeatable else ""
        if problem:
            loop.report_violation(problem)
        stored = cluster.secrets.get((names.DRIVER_NAMESPACE, ref.grant))
        if stored is None and is_repeatable:
            continue  # there was nothing to make the first token from
        if stored is None:
            loop.report_violation(f"6: {ref.name} has no grant in the end")
            continue
        grant = grant_secret.from_secret(stored)
        if history.spooled and history.spooled[1] == history.live:
            loop.report_violation(f"3: the reply {history.spooled[2]} was left in the spool")
        if history.to_adopt and history.to_adopt not in history.was_live:
            loop.report_violation(f"4: {history.to_adopt} was never adopted")
        if not is_repeatable and not _has_cause(grant.status, history.live, network):
            loop.report_violation(f"6: {ref.name} ends as {grant.status.value} without a cause")
        # The run may end between the write of a grant and that of its companion.
        companion_due = grant.issued_at < loop.now - 5.0 - max(map(abs, network.parameters.offsets))
        if companion_due and history.companion_generation != history.generation:
            loop.report_violation(f"13: the companion of {ref.name} stays behind")
        # That a token waits for its login is not stored in its grant.
        waits = source.annotations.get(annotations.STATUS) == Status.WAITS_FOR_LOGIN.value
        if grant.status is Status.READY and not waits and grant.expires_at < loop.now - 60:
            loop.report_violation(f"11: {ref.name} is Ready and not refreshed")


def _has_cause(status: Status, live: str, network: Network) -> bool:
    server, now = network.server, network.loop.now
    if status is Status.READY:
        return True
    histories = network.invariants.histories.values()
    uncertain = any(history.may_be_consumed(live) for history in histories)
    dead, copied = (
        not server.accepts(live, now),
        any(history.copied and history.live == live for history in histories),
    )
    causes = {
        Status.LOST_ROTATION: dead or live in server.falsely_refused,
        Status.NEEDS_REAUTH: dead or live in server.falsely_refused,
        Status.UNCERTAIN: uncertain,
        Status.DUPLICATE_GRANT: copied,
    }
    return causes.get(status, False)
