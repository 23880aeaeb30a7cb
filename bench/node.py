"""The node plugin against its targets: a full node, on a real API server."""

from collections.abc import Callable, Iterator

from bench import memory, publish, rotation
from bench.rows import Measure, Row
from bench.stand import Stand
from csidriver.errors import DriverError
from tests.cluster.controlplane import PROGRAMS
from tools.programs import find

# A node of Kubernetes runs 110 pods unless told otherwise.
VOLUMES, COMPANIONS = 110, 20
STOP = Measure("node_stop_s", "graceful stop, slowest of several", "s", 1.0, 2.0)
START = Measure("node_start_s", "start with all volumes published, until registered, p50", "s")


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """All rows of the node plugin. Raises DriverError where a program is missing."""
    if missing := [name for name in PROGRAMS if find(name) is None]:
        raise DriverError(f"{', '.join(missing)} missing; run `make tools`")
    with Stand(say) as stand:
        say("memory")
        yield from memory.measure(stand, volumes=VOLUMES, companions=COMPANIONS, quick=quick)
        stand.start()
        say("publish")
        yield from publish.measure(stand, volumes=VOLUMES, companions=COMPANIONS, quick=quick)
        say("stop")
        stops, starts = [], []
        for _ in range(3 if quick else 9):
            stops.append(stand.stop())
            starts.append(stand.start())
        yield STOP.row([stops])
        yield START.row([starts])
        stand.clear()
        say("rotation")
        yield from rotation.measure(stand, volumes=VOLUMES, quick=quick)
        used = stand.plugin.memory()
        yield Row("node_rss_used_mib", "RSS after all that", "MiB", used["Rss"] / 1024)
        stand.clear()
        stand.stop()
