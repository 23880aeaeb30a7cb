"""One run for each fault of an authorization server, length, moment, reuse policy and lifetime.

One refresher, whose tokens have been adopted. `python -m tests.simulator.fault_matrix` runs all.
A fault begins with the first exchange at or after its moment, so that it always meets one:

- before due: nothing has been sent;
- in flight: between the first request and its answer. The server has served the request, except
  where the gateway answers without it (404, 401); a connection to a gateway that goes away is cut;
- the last moment, E - lead/4, and the expiry E: before that, requests are dropped and nothing else
  can connect. This begins when the token is due; or, to save time, the process stands still until
  there are EARLY seconds left to the last moment.
"""

import gc
import logging
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from itertools import product

from csidriver.core import annotations, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.schedule import lead_time, min_interval
from csidriver.core.status import Status
from tests.simulator.__main__ import print_line, print_trace
from tests.simulator.event_loop import START
from tests.simulator.fault_table import INTROSPECTION, POLICIES, SECONDS, write
from tests.simulator.gateway import Fault, Gateway
from tests.simulator.lease import StoredLease
from tests.simulator.parameters import RunParameters
from tests.simulator.replica import Replica
from tests.simulator.simulation import build_network
from tests.simulator.users import Users

WINDOW = 60.0
LIVES = (60.0, 300.0, 1200.0)
TOKENS = (1, 4)
# Most seconds until Ready after the server is back: in general, and where the only presentation
# that is left waits for E - lead/4.
MAX_WAIT, MAX_LAST_WAIT = 60.0, 300.0
# Enough for a request of 20 s and what follows.
EARLY = 45.0
# Seconds between two looks whether a run is over.
STEP = 5.0
MAX_PRESENTATIONS = {"strict": 2, "window": 4, "unlimited": math.inf}


class Moment(Enum):
    """When a fault begins."""

    BEFORE_DUE = "before due"
    IN_FLIGHT = "in flight"
    LAST = "last moment"
    EXPIRY = "expiry"


@dataclass(frozen=True)
class Cell:
    """One run of the matrix."""

    fault: Fault
    seconds: float
    policy: str
    introspects: bool
    life: float
    tokens: int
    moment: Moment

    @property
    def has_last_moment(self) -> bool:
        """Only the attempt at E - lead/4 may be left: nothing can be asked, no window is open."""
        is_over = self.moment in (Moment.LAST, Moment.EXPIRY)
        closed = self.policy == "strict" or (self.policy == "window" and self.seconds >= WINDOW)
        return closed and not self.introspects and not is_over

    def __str__(self) -> str:
        asked = "introspection" if self.introspects else "none"
        return (
            f"{self.fault.value}, {self.seconds:.0f} s, {self.policy}/{asked}, life "
            f"{self.life:.0f} s, {self.tokens} tokens, {self.moment.value}"
        )


@dataclass(frozen=True)
class Result:
    """The result of a cell: seconds until Ready, presentations of a token while unknown."""

    cell: Cell
    waited: float
    presentations: int
    violations: tuple[str, ...]
    trace: tuple[tuple[float, str, str], ...]


ALL_CELLS = [
    Cell(*row) for row in product(Fault, SECONDS, POLICIES, INTROSPECTION, LIVES, TOKENS, Moment)
]


class Run:
    """The run of one cell; `number` varies the jitter."""

    def __init__(self, number: int, cell: Cell) -> None:
        self.cell = cell
        parameters = RunParameters(
            number,
            "matrix",
            secrets=cell.tokens,
            cycles=0,
            life=cell.life,
            policy=cell.policy,
            window=WINDOW if cell.policy == "window" else 0.0,
            introspects=cell.introspects,
            rate=50.0,
            leader_election=False,
            offsets=(0.0, 0.0),
        )
        self.gateway = build_network(parameters, Gateway)
        self.gateway.fault, self.gateway.seconds = cell.fault, cell.seconds
        self.gateway.on_begin = self._begin
        self.loop, self.cluster = self.gateway.loop, self.gateway.cluster
        self.cluster.writes = 100 * number
        self.statuses: dict[tuple[str, str], tuple[Status, float]] = {}
        self.alive: set[SourceRef] = set()

    def result(self) -> Result:
        """Run the cell and check it."""
        gateway, loop = self.gateway, self.loop
        users = Users(gateway)
        self.refs = [users.create_secret(f"token-{n}") for n in range(self.cell.tokens)]
        self._observe_statuses()
        self.replica = Replica(gateway, "pod-0.0", 0.0, StoredLease())
        loop.call_at(START, self.replica.boot)
        loop.run_until(START + 5.0)
        expiry = self._arm()
        loop.run_until(gateway.armed_at + 100.0)
        if gateway.began_at is None:
            loop.report_violation("the fault meets nothing")
        until = max(gateway.ends_at + MAX_LAST_WAIT, expiry) + 60.0
        while loop.now < until and not loop.violations and not self._is_over(expiry):
            loop.run_until(loop.now + STEP)
        waited = max((self._waited(ref) for ref in self.alive), default=0.0)
        presentations = max(gateway.presentations.values())
        violations = (*loop.violations, *self._check(waited, presentations))
        trace = tuple(loop.trace) if violations else ()
        return Result(self.cell, waited, presentations, violations, trace)

    def _is_over(self, expiry: float) -> bool:
        """Return True if all tokens were refreshed after the fault; dead ones must expire."""
        if self.loop.now < self.gateway.ends_at + STEP:
            return False
        dead = len(self.alive) < len(self.refs)
        histories = self.gateway.invariants.histories
        refreshed = all(
            histories[ref].issued >= self.gateway.ends_at and self._waited(ref) < math.inf
            for ref in self.alive
        )
        return refreshed and not (dead and self.loop.now < expiry + STEP)

    def _arm(self) -> float:
        """Set when the fault begins; return when the first access token expires."""
        gateway, moment = self.gateway, self.cell.moment
        grants = [self._grant(ref) for ref in self.refs]
        due = min(grant.next_refresh or 0.0 for grant in grants)
        expiry = min(grant.expires_at for grant in grants)
        last = expiry - lead_time(self.cell.life) / 4
        gateway.armed_at = due - 1.0
        gateway.in_flight = moment is Moment.IN_FLIGHT
        if moment in (Moment.LAST, Moment.EXPIRY):
            gateway.silent_from = due - 1.0
            self.loop.call_at(due - 1.0, lambda: self.replica.freeze(last - EARLY - due))
            gateway.armed_at = last if moment is Moment.LAST else expiry
        return expiry

    def _begin(self) -> None:
        self.loop.record("gateway", f"{self.cell.fault.value} begins")
        self.loop.call_at(self.gateway.ends_at, self._end)

    def _end(self) -> None:
        """Find the tokens that the server still accepts, or whose answer is under way."""
        self.loop.record("gateway", "works again")
        server, lost = self.gateway.server, self.gateway.lost
        for ref in self.refs:
            live = self.gateway.invariants.histories[ref].live
            if live not in lost or server.accepts(live, self.loop.now):
                self.alive.add(ref)

    def _grant(self, ref: SourceRef) -> Grant:
        return grant_secret.from_secret(self.cluster.secrets[names.DRIVER_NAMESPACE, ref.grant])

    def _observe_statuses(self) -> None:
        check_write = self.cluster.on_write

        def on_write(writer: str, before: Secret | None, after: Secret | None) -> None:
            check_write(writer, before, after)
            if after is not None and annotations.STATUS in after.annotations:
                self._note_status(after, Status(after.annotations[annotations.STATUS]))

        self.cluster.on_write = on_write

    def _note_status(self, secret: Secret, status: Status) -> None:
        key = secret.namespace, secret.name
        known, _ = self.statuses.get(key, (None, 0.0))
        if status is not known:
            self.statuses[key] = status, self.loop.now
        if status is Status.LOST_ROTATION:
            ref = self.cluster.token_objects.get(key, SourceRef(*key))
            live = self.gateway.invariants.histories[ref].live
            if live not in self.gateway.refused:
                self.loop.report_violation(f"{live} is lost, but the server has not said so")

    def _waited(self, ref: SourceRef) -> float:
        """Return the seconds until source and companion said Ready for good."""
        keys = (ref.namespace, ref.name), (names.TOKENS_NAMESPACE, ref.companion)
        found = [self.statuses[key] for key in keys]
        if any(status is not Status.READY for status, _ in found):
            return math.inf
        return max(0.0, *(since - self.gateway.ends_at for _, since in found))

    def _check(self, waited: float, presentations: int) -> Iterator[str]:
        cell, gateway = self.cell, self.gateway
        if waited > (MAX_LAST_WAIT if cell.has_last_moment else MAX_WAIT):
            yield f"Ready {waited:.0f} s after the server is back"
        if presentations > MAX_PRESENTATIONS[cell.policy]:
            yield f"a token is presented {presentations} times"
        if cell.policy != "window" and gateway.shortest_pause < min_interval(cell.life):
            yield f"a token is presented again after {gateway.shortest_pause:.1f} s"
        if not gateway.met:
            yield "the fault meets nothing"


def run_cell(number: int) -> Result:
    """Run the cell of this number."""
    return Run(number, ALL_CELLS[number]).result()


def _prepare_process() -> None:
    logging.disable()
    # Runs leave much garbage behind, but little at a time.
    gc.set_threshold(50_000)


def main(*arguments: str) -> int:
    """Run all cells and print the result; return the exit status. `--write` renews the docs."""
    began = time.monotonic()
    with ProcessPoolExecutor(2, initializer=_prepare_process) as pool:
        results = list(pool.map(run_cell, range(len(ALL_CELLS)), chunksize=16))
    failing = [result for result in results if result.violations]
    for result in failing:
        print_line(f"{result.cell}: {'; '.join(result.violations)}")
    if failing:
        print_trace(min(failing, key=lambda result: len(result.trace)).trace)
    elif "--write" in arguments:
        write(results)
    print_line(
        f"{len(results)} faults, {time.monotonic() - began:.0f} s, {len(failing)} with violations"
    )
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
