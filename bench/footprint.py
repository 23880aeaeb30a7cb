"""How much memory a node takes, how fast that grows, and what an idle one costs in CPU.

RSS is that of /proc/<pid>/smaps_rollup, which counts pages; /proc/<pid>/status may be some behind.
Token files are not in it. They count for the container, as does all that lies on a tmpfs.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from bench import peer
from bench.catalogue import RSS_SIZES
from bench.empty import Empty
from bench.peer import GoPair
from bench.process import cpu_of
from bench.publish import COMPANIONS, VOLUMES
from bench.room import MEMORY
from bench.rows import Row, middle
from bench.stand import SOURCES, Stand, Volume, spread

# Volumes more on the same companions, and companions more with a volume each.
MORE, QUICK_MORE = (500, 100), (200, 40)
# Seconds for the watches to settle after the last publish; of doing nothing.
REST_SECONDS = 1.0
WINDOW, QUICK_WINDOW = 60.0, 12.0
_QUIET = 5.0


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Grow fresh plugins, and fresh pairs of Go beside them; then leave one alone."""
    grown: dict[str, list[float]] = {}
    with Stand(say) as stand:
        stand.start_second_broker()
        for number in range(count := 1 if quick else 3):
            say(f"memory, round {number + 1} of {count}")
            for key, value in (*_grow(stand, *(QUICK_MORE if quick else MORE)), *_beside(stand)):
                grown.setdefault(key, []).append(value)
        for key, values in grown.items():
            yield middle(key, values)
        own = grown["node_rss_110_mib"]
        if pair := grown.get("node_rss_110_go_mib"):
            yield _quotients("node_pod_ratio_go", own, pair)
        yield _quotients("node_rss_ratio_floor", own, grown["node_rss_floor_mib"])
        yield Row("node_idle_cpu_percent", _idle(stand, QUICK_WINDOW if quick else WINDOW))


def _quotients(key: str, above: Sequence[float], below: Sequence[float]) -> Row:
    return middle(key, [over / under for over, under in zip(above, below, strict=True)])


def _grow(stand: Stand, volumes: int, companions: int) -> Iterator[tuple[str, float]]:
    """Numbers of a fresh plugin by key; it has ended afterwards."""
    stand.start()
    there = 0
    for size in RSS_SIZES:
        stand.publish(spread(range(there, size), COMPANIONS))
        there = size
        taken = _memory_at_rest(stand)
        yield f"node_rss_{size}_mib", taken["Rss"] / 1024
        if size == VOLUMES:
            yield "node_pss_110_mib", taken["Pss"] / 1024
    yield (
        "node_rss_kib_per_volume",
        _slope(stand, spread(range(there, there + volumes), COMPANIONS)),
    )
    there += volumes
    further = [(there + more, SOURCES[COMPANIONS + more]) for more in range(companions)]
    yield "node_rss_kib_per_companion", _slope(stand, further)
    stand.clear()
    stand.stop()


def _slope(stand: Stand, more: Sequence[Volume]) -> float:
    """KiB per volume of these."""
    before = _memory_at_rest(stand)["Rss"]
    stand.publish(more)
    return (_memory_at_rest(stand)["Rss"] - before) / len(more)


def _beside(stand: Stand) -> Iterator[tuple[str, float]]:
    """Measure the empty server, and the two Go programs with as many volumes."""
    with Empty(MEMORY) as empty:
        time.sleep(REST_SECONDS)
        yield "node_rss_floor_mib", empty.memory()
    with peer.running(stand.plugin.kubelet.root) as pair:
        if pair is not None:
            yield from _grow_pair(pair)


def _grow_pair(pair: GoPair) -> Iterator[tuple[str, float]]:
    there = 0
    for size in RSS_SIZES:
        for number in range(there, size):
            pair.publish(number)
        there = size
        time.sleep(REST_SECONDS)
        yield f"node_rss_{size}_go_mib", pair.memory()
    for number in range(there):
        pair.unpublish(number)


def _memory_at_rest(stand: Stand) -> dict[str, float]:
    time.sleep(REST_SECONDS)
    return stand.plugin.memory()


def _idle(stand: Stand, window: float) -> float:
    """Percent of a core that a full node takes while nothing changes."""
    stand.start()
    stand.publish(spread(range(VOLUMES), COMPANIONS))
    stand.say(f"leaving {VOLUMES} volumes alone for {window:g} s")
    time.sleep(_QUIET)
    began, before = time.monotonic(), cpu_of(stand.plugin.pid)
    time.sleep(window)
    used = cpu_of(stand.plugin.pid) - before
    percent = 100 * used / (time.monotonic() - began)
    stand.clear()
    stand.stop()
    return percent
