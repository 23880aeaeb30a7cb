"""From exec to registered, beside an empty grpcio server started and registered the same way."""

from collections.abc import Callable, Iterator

from bench.empty import Empty
from bench.publish import COMPANIONS, VOLUMES
from bench.room import MEMORY
from bench.rows import Row, middle, over_rounds, ratio
from bench.stand import Stand, spread

ROUNDS, QUICK_ROUNDS = 15, 5


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Start and stop the plugin, with nothing published and with a full node."""
    count = QUICK_ROUNDS if quick else ROUNDS
    with Stand(say) as stand:
        with Empty(MEMORY):
            """The first start compiles it."""
        say(f"{count} starts with nothing published")
        starts, floors, stops = [], [], []
        for _ in range(count):
            starts.append([1000 * stand.start()])
            stops.append(stand.stop())
            with Empty(MEMORY) as empty:
                floors.append([1000 * empty.took])
        yield middle("start_to_registered_ms", [took for (took,) in starts])
        yield middle("start_floor_ms", [took for (took,) in floors])
        yield ratio("start_ratio_floor", starts, floors)
        say(f"{count} starts with {VOLUMES} volumes")
        stand.start()
        stand.publish(spread(range(VOLUMES), COMPANIONS))
        full = []
        for _ in range(count):
            stops.append(stand.stop())
            full.append(1000 * stand.start())
        stand.clear()
        stops.append(stand.stop())
        yield middle("start_110_ms", full)
        yield over_rounds("stop_s", [stops], 1.0)
