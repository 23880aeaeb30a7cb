"""A node's client, and the brokers that it knows."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from csidriver.adapters.clock import SystemClock
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.node.companions.broker_address import BrokerAddress
from csidriver.node.companions.broker_client import BrokerClient, ClientPauses
from csidriver.node.companions.updates_received import State
from tests.broker.running import HOST, PATIENCE, RunningBroker
from tests.waiting import until

SOON = (0.01, 0.02)
QUICK = ClientPauses(rejoin=SOON, alone=SOON, denied=SOON, undecided=SOON, poll=0.01)


@dataclass(frozen=True, slots=True)
class FakeAddress(BrokerAddress):
    """Addresses that a test changes, in place of those of a Service."""

    targets: set[str] = field(default_factory=set)

    def resolve(self) -> frozenset[str]:
        return frozenset(self.targets)


class States:
    """The states of one subscription."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self._changed = threading.Condition()

    def receive(self, state: State) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()

    def until(self, true: Callable[[State], object]) -> State:
        """Return the first state for which this holds."""

        def found() -> list[State]:
            return [state for state in self.states if true(state)]

        with self._changed:
            assert self._changed.wait_for(found, PATIENCE), self.states
            return found()[0]

    def generation(self, generation: int) -> Companion:
        state = self.until(lambda s: isinstance(s, Companion) and s.generation == generation)
        assert isinstance(state, Companion)
        return state


class ClientNode:
    """The client of node-a."""

    def __init__(self, folder: Path, *brokers: RunningBroker, pauses: ClientPauses = QUICK) -> None:
        self.authorities, self.token = folder / "ca.crt", folder / "token"
        self.token.write_text("of-a", encoding="ascii")
        self.address = FakeAddress(HOST, 1, self.authorities, self.token)
        for broker in brokers:
            self.add(broker)
        self.client = BrokerClient(self.address, SystemClock(), pauses)

    def __enter__(self) -> Self:
        self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()

    def add(self, broker: RunningBroker) -> None:
        """Let the node find a broker, and trust its authority, too."""
        until(lambda: broker.server.port)
        with self.authorities.open("a", encoding="ascii") as file:
            file.write(broker.certificates.authority)
        self.address.targets.add(target(broker))

    def follow(self, pod: PodRef, secret: str) -> tuple[Callable[[], None], States]:
        """Return how to end it, and its states."""
        states = States()
        return self.client.follow(SourceRef(pod.namespace, secret), pod, states.receive), states


def target(broker: RunningBroker) -> str:
    return f"ipv4:127.0.0.1:{broker.server.port}"
