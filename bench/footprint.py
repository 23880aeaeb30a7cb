"""Memory of a node and how it grows, CPU of an idle one, and how fast it starts.

Token files are not in its memory: they count for the container, as does all that lies on a tmpfs.
"""

import time
from collections.abc import Iterator

from bench import peer
from bench.node import COMPANIONS, FULL_NODE, SOURCES, Stand, Volume, volumes_of
from bench.report import Row, quotients_of

SIZES = (0, 20, FULL_NODE, 250)


def measure(*, quick: bool) -> Iterator[Row]:
    """Grow fresh plugins, and what is compared with them; leave one alone; start and stop it."""
    rounds, window, starts = (1, 3.0, 2) if quick else (2, 20.0, 7)
    grown: dict[str, list[float]] = {}
    with Stand() as stand:
        for _ in range(rounds):
            more = (20, 10) if quick else (500, 100)
            for key, value in (*_grow(stand, *more), *_grow_others()):
                grown.setdefault(key, []).append(value)
        floor, go = grown.pop("floor"), grown.pop("go", [])
        limits = {"node_rss_kib_per_volume": "<= 50", "node_rss_kib_per_companion": "<= 20"}
        for key, values in grown.items():
            yield Row(key, values, limits.get(key, ""), () if key in limits else floor)
        ratios = quotients_of(grown["node_rss_110_mib"], go) if go else []
        yield peer.compare("node_pod_ratio_go", ratios, "<= 1.3")
        stand.start()
        stand.publish(volumes_of(range(FULL_NODE)))
        time.sleep(2.0)
        before = stand.plugin.cpu()
        time.sleep(window)
        yield Row("node_idle_cpu_percent", [100 * (stand.plugin.cpu() - before) / window])
        yield from _measure_starts(stand, starts)


def _grow(stand: Stand, volumes: int, companions: int) -> Iterator[tuple[str, float]]:
    """Yield numbers of a fresh plugin by key."""
    stand.start()
    published: list[Volume] = []

    def publish(more: list[Volume]) -> float:
        stand.publish(more)
        published.extend(more)
        time.sleep(1.0)
        return stand.plugin.memory()

    memory = 0.0
    for size in SIZES:
        memory = publish(volumes_of(range(len(published), size)))
        yield f"node_rss_{size}_mib", memory
    after = publish(volumes_of(range(len(published), len(published) + volumes)))
    yield "node_rss_kib_per_volume", 1024 * (after - memory) / volumes
    first = len(published)
    more = publish([(first + n, SOURCES[COMPANIONS + n]) for n in range(companions)])
    yield "node_rss_kib_per_companion", 1024 * (more - after) / companions
    stand.unpublish(published)
    stand.stop()


def _grow_others() -> Iterator[tuple[str, float]]:
    with peer.empty_server() as (_, empty):
        time.sleep(1.0)
        yield "floor", empty.memory()
    with peer.running() as pair:
        if pair is not None:
            for number in range(FULL_NODE):
                pair.publish(number, None)
            time.sleep(1.0)
            yield "go", pair.memory()


def _measure_starts(stand: Stand, count: int) -> Iterator[Row]:
    """Stop and start it with a full node, then with nothing published."""
    stops, full, starts, floors = [], [], [], []
    for _ in range(count):
        stops.append(stand.stop())
        full.append(1000 * stand.start())
    stand.unpublish(volumes_of(range(FULL_NODE)))
    for _ in range(count):
        stops.append(stand.stop())
        with peer.empty_server() as (took, _):
            floors.append(1000 * took)
        starts.append(1000 * stand.start())
    stops.append(stand.stop())
    yield Row("start_to_registered_ms", starts, "", floors, "start_ratio_floor")
    yield Row("start_110_ms", full, "", floors)
    yield Row("stop_s", [max(stops)], "<= 2")
