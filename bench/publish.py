"""How long kubelet waits for a publish, and what of that is gRPC's and the kernel's.

Beside it the same calls to the Go peer, by the same client, in turn.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from bench import peer
from bench.calls import TIMEOUT, Caller
from bench.floor import Floor
from bench.http2_client import Http2Client
from bench.peer import GoPair
from bench.rows import Row, middle, over_rounds, ratio
from bench.stand import Stand, Volume, spread
from csidriver._proto import csi_pb2

# A node of Kubernetes runs 110 pods unless told otherwise.
VOLUMES, COMPANIONS = 110, 20
CALLERS = 16
ROUNDS, QUICK_ROUNDS = 9, 3
# How often each caller of a crowd publishes its share in a round.
_SWEEPS = 3
# Samples of a round, by kind.
Taken = dict[str, list[float]]
Kinds = dict[str, Callable[[Volume], float]]


@dataclass(frozen=True, slots=True)
class ParallelPublishes:
    """Many callers at once: milliseconds of publishes and of calls that do nothing.

    `rate` is how many volumes they unpublished and published a second.
    """

    publishes: list[float]
    empties: list[float]
    rate: float


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Publish while 109 other volumes are published."""
    wanted = spread(range(VOLUMES), COMPANIONS)
    with Stand(say) as stand, ExitStack() as stack:
        stand.start()
        stack.callback(stand.stop)
        stack.callback(stand.clear)
        say(f"publishing {VOLUMES} volumes on {COMPANIONS} companions")
        first = []
        for _ in range(2 if quick else 3):
            stand.clear()
            first.append(stand.publish(wanted)[:COMPANIONS])
        yield over_rounds("publish_first_ms", first)
        wire = stack.enter_context(Http2Client(stand.plugin.socket, TIMEOUT))
        pair = stack.enter_context(peer.running(stand.plugin.kubelet.root))
        if pair is not None:
            say("publishing as many by the Go peer")
            for number in range(VOLUMES):
                pair.publish(number)
        kinds, floor = _kinds(stand, wire), Floor(stand.plugin.kubelet.root / "pods")
        rounds, crowds = [], []
        for number in range(count := QUICK_ROUNDS if quick else ROUNDS):
            say(f"round {number + 1} of {count}")
            rounds.append(_round(stand, wanted, kinds, floor, pair))
            crowds.append(_publish_in_parallel(stand, wanted))
        yield from _rows(rounds, crowds, compared=pair is not None)


def _rows(rounds: list[Taken], crowds: list[ParallelPublishes], *, compared: bool) -> Iterator[Row]:
    def taken(key: str) -> list[list[float]]:
        return [samples[key] for samples in rounds]

    yield over_rounds("publish_p50_ms", taken("publish"))
    yield over_rounds("publish_p99_ms", taken("publish"), 0.99)
    yield over_rounds("publish_floor_ms", taken("floor"))
    yield ratio("publish_p50_ratio_floor", taken("publish"), taken("floor"))
    yield over_rounds("empty_call_ms", taken("empty"))
    yield over_rounds("publish_wire_ms", taken("wire"))
    yield over_rounds("empty_call_wire_ms", taken("wire empty"))
    yield over_rounds("publish_new_connection_ms", taken("new connection"))
    yield over_rounds("empty_call_new_connection_ms", taken("new connection empty"))
    yield over_rounds("republish_p50_ms", taken("republish"))
    yield over_rounds("unpublish_p50_ms", taken("unpublish"))
    yield over_rounds("unpublish_floor_ms", taken("unpublish floor"))
    yield over_rounds("publish_16_p99_ms", [crowd.publishes for crowd in crowds], 0.99)
    yield over_rounds("empty_call_16_p99_ms", [crowd.empties for crowd in crowds], 0.99)
    yield middle("publish_16_per_second", [crowd.rate for crowd in crowds])
    if compared:
        yield over_rounds("publish_go_ms", taken("go publish"))
        for name in ("publish", "republish", "unpublish"):
            yield ratio(f"{name}_ratio_go", taken(f"go {name}"), taken(name))


def _kinds(stand: Stand, wire: Http2Client) -> Kinds:
    """Return the functions to sample, by name; each takes an unpublished volume."""
    nothing = csi_pb2.NodeGetCapabilitiesRequest()
    caller, empty = stand.caller, "NodeGetCapabilities"
    return {
        "publish": lambda volume: stand.publish([volume])[0],
        "empty": lambda _: caller.call(empty, nothing),
        "wire": lambda volume: stand.publish([volume], wire.call)[0],
        "wire empty": lambda _: wire.call(empty, nothing),
        "new connection": lambda volume: stand.publish([volume], caller.call_anew)[0],
        "new connection empty": lambda _: caller.call_anew(empty, nothing),
    }


def _round(
    stand: Stand, wanted: list[Volume], kinds: Kinds, floor: Floor, pair: GoPair | None
) -> Taken:
    """Return samples by name: all kinds for one volume, then for the next.

    So a machine that is busy for a while slows all kinds.
    """
    names = (*kinds, "unpublish", "republish", "floor", "unpublish floor")
    taken: Taken = {name: [] for name in names}
    for volume in wanted:
        for name, sample in kinds.items():
            # Before each sample of any kind: all of them find the machine as warm.
            taken["unpublish"] += stand.unpublish([volume[0]])
            taken[name].append(sample(volume))
            if not stand.is_published(volume[0]):
                stand.publish([volume])
        taken["republish"] += stand.publish([volume])
        for name, took in zip(names[-2:], floor.sample(), strict=True):
            taken[name].append(took)
        if pair is not None:
            taken.setdefault("go unpublish", []).append(pair.unpublish(volume[0]))
            taken.setdefault("go publish", []).append(pair.publish(volume[0]))
            taken.setdefault("go republish", []).append(pair.publish(volume[0]))
    return taken


def _publish_in_parallel(stand: Stand, wanted: list[Volume]) -> ParallelPublishes:
    """Every caller works on volumes of its own, over a connection of its own.

    One volume of each companion stays, so that none of them has to be followed anew.
    """
    pods, socket = stand.plugin.kubelet.root / "pods", stand.plugin.socket
    callers = [Caller(pods, socket, stand.pods.uids) for _ in range(CALLERS)]
    ready = threading.Barrier(CALLERS)
    nothing = csi_pb2.NodeGetCapabilitiesRequest()

    def work(index: int) -> tuple[list[float], list[float], float]:
        took, caller = [], callers[index]
        ready.wait(TIMEOUT)
        began = time.perf_counter()
        for number, ref in _SWEEPS * wanted[COMPANIONS + index :: CALLERS]:
            caller.call("NodeUnpublishVolume", caller.unpublish_request(number))
            took.append(caller.call("NodePublishVolume", caller.publish_request(number, ref)))
        busy = time.perf_counter() - began
        ready.wait(TIMEOUT)
        return took, [caller.call("NodeGetCapabilities", nothing) for _ in took], busy

    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(work, range(CALLERS)))
    for caller in callers:
        caller.close()
    publishes = [sample for took, _, _ in found for sample in took]
    empties = [sample for _, took, _ in found for sample in took]
    return ParallelPublishes(publishes, empties, len(publishes) / max(busy for _, _, busy in found))
