"""How long kubelet waits for a publish, and what of that is gRPC's and the kernel's."""

from collections.abc import Callable, Iterator

from bench.calls import PATIENCE
from bench.floor import Floor
from bench.rows import Measure, Row
from bench.stand import Stand, Volume, spread
from bench.wire import Wire
from csidriver._proto import csi_pb2

P50 = Measure("node_publish_ms_p50", "publish by a grpcio client, p50", "ms", 0.5, 0.9)
P99 = Measure("node_publish_ms_p99", "publish by a grpcio client, p99", "ms", 0.99, 5.0)
EMPTY = Measure("node_empty_call_ms_p50", "... of it gRPC: a call that does nothing", "ms")
FLOOR = Measure("node_publish_floor_ms_p50", "... of it the kernel: its system calls alone", "ms")
WIRE = Measure("node_publish_wire_ms_p50", "publish on the wire, without a client, p50", "ms")
WIRE_P99 = Measure(
    "node_publish_wire_ms_p99", "publish on the wire, without a client, p99", "ms", 0.99
)
WIRE_EMPTY = Measure(
    "node_empty_call_wire_ms_p50", "... of it gRPC: a call that does nothing", "ms"
)
NEW = Measure(
    "node_publish_new_connection_ms_p50", "publish, grpcio, connecting included, p50", "ms"
)
NEW_EMPTY = Measure("node_empty_call_new_connection_ms_p50", "... of it gRPC", "ms")
UNPUBLISH = Measure("node_unpublish_ms_p50", "unpublish by a grpcio client, p50", "ms")
FIRST = Measure("node_publish_first_ms_p50", "publish, first volume of a companion, p50", "ms")
# Which rows are made of which samples.
ROWS = (
    *((kind, P50.key) for kind in (P50, P99)),
    *((kind, kind.key) for kind in (EMPTY, FLOOR)),
    *((kind, WIRE.key) for kind in (WIRE, WIRE_P99)),
    *((kind, kind.key) for kind in (WIRE_EMPTY, NEW, NEW_EMPTY, UNPUBLISH)),
)


def measure(stand: Stand, *, volumes: int, companions: int, quick: bool) -> Iterator[Row]:
    """Publish while so many volumes are published; leaves them published."""
    wanted = spread(range(volumes), companions)
    first = [stand.publish(wanted)[:companions]]
    for _ in range(0 if quick else 2):
        stand.clear()
        first.append(stand.publish(wanted)[:companions])
    with Wire(stand.plugin.socket, PATIENCE) as wire:
        kinds = _kinds(stand, wire)
        rounds = [_round(stand, wanted, kinds) for _ in range(3 if quick else 15)]
    for kind, key in ROWS:
        yield kind.row([taken[key] for taken in rounds])
    yield FIRST.row(first)


def _kinds(stand: Stand, wire: Wire) -> dict[str, Callable[[Volume], list[float]]]:
    """What is sampled, by key: each takes a volume that is not published."""
    floor = Floor(stand.plugin.kubelet.root / "pods")
    nothing = csi_pb2.NodeGetCapabilitiesRequest()
    caller, empty = stand.caller, "NodeGetCapabilities"
    return {
        P50.key: lambda volume: stand.publish([volume]),
        EMPTY.key: lambda _: [caller.call(empty, nothing)],
        FLOOR.key: lambda _: [floor.sample()],
        WIRE.key: lambda volume: stand.publish([volume], wire.call),
        WIRE_EMPTY.key: lambda _: [wire.call(empty, nothing)],
        NEW.key: lambda volume: stand.publish([volume], caller.call_anew),
        NEW_EMPTY.key: lambda _: [caller.call_anew(empty, nothing)],
    }


def _round(
    stand: Stand, wanted: list[Volume], kinds: dict[str, Callable[[Volume], list[float]]]
) -> dict[str, list[float]]:
    """Samples by key, one sweep of each kind after the other.

    Rounds repeat that, so that a machine that is busy for a while is so for all kinds.
    """
    taken: dict[str, list[float]] = {key: [] for key in (*kinds, UNPUBLISH.key)}
    for key, sample in kinds.items():
        for volume in wanted:
            # Before each sample of any kind: all of them find the machine as warm.
            taken[UNPUBLISH.key] += stand.unpublish([volume[0]])
            taken[key] += sample(volume)
            if not stand.is_published(volume[0]):
                stand.publish([volume])
    return taken
