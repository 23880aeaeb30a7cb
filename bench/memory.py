"""How much memory the node plugin takes, and how fast that grows.

RSS is that of /proc/<pid>/smaps_rollup, which counts pages; /proc/<pid>/status may be some behind.
Token files are not in it. They count for the container, as does all that lies on a tmpfs.
"""

import statistics
import time
from collections.abc import Iterator

from bench.rows import Row
from bench.stand import SOURCES, Stand, spread

MORE_VOLUMES, MORE_COMPANIONS = 500, 100
# Seconds for the watches to settle after the last publish.
SETTLE = 1.0


def measure(stand: Stand, *, volumes: int, companions: int, quick: bool) -> Iterator[Row]:
    """Grow a fresh plugin by volumes, another one by companions with a volume each.

    No plugin runs afterwards.
    """
    taken: dict[str, list[float]] = {}
    more = range(volumes, volumes + MORE_VOLUMES)
    others = [(number, SOURCES[companions + number]) for number in range(MORE_COMPANIONS)]
    further = [(volumes + number, ref) for number, ref in others]
    for _ in range(1 if quick else 3):
        for name, growth in (("volume", spread(more, companions)), ("companion", further)):
            stand.say(f"memory: {len(growth)} more, one {name} each")
            stand.start()
            stand.publish(spread(range(volumes), companions))
            before = _settled(stand)
            stand.publish(growth)
            after = _settled(stand)
            for kind in ("Rss", "Pss"):
                taken.setdefault(kind, []).append(before[kind] / 1024)
            slope = (after["Rss"] - before["Rss"]) / len(growth)
            taken.setdefault(name, []).append(slope)
            stand.clear()
            stand.stop()
    yield _row("node_rss_mib", "RSS", "MiB", 52.0, taken["Rss"])
    yield _row("node_pss_mib", "... PSS", "MiB", None, taken["Pss"])
    yield _row("node_rss_kib_per_volume", "RSS per volume more", "KiB", 50.0, taken["volume"])
    yield _row(
        "node_rss_kib_per_companion",
        "RSS per companion more, with a volume",
        "KiB",
        160.0,
        taken["companion"],
    )


def _settled(stand: Stand) -> dict[str, float]:
    time.sleep(SETTLE)
    return stand.plugin.memory()


def _row(key: str, what: str, unit: str, limit: float | None, values: list[float]) -> Row:
    middle, ends = statistics.median(values), (min(values), max(values))
    return Row(key, what, unit, middle, limit, ends)
