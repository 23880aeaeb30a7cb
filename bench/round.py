"""One side of `bench.compare`: rounds of a node plugin on its own API server.

It runs with the packages of the working tree whose PYTHONPATH it has, also of one from before the
broker. A line on standard input is a round; the answer is a line of JSON with the samples by name.
"""

import json
import sys
import time
from dataclasses import replace
from typing import Any

from bench import room
from bench.companions import NAMESPACE, Companions
from bench.fanout import FULL_NODE, Group, _change
from bench.observer import Observer
from bench.stand import SOURCES, Stand, spread

COMPANIONS, MORE = 20, 100
CHANGES = 40
_FIRST_OF_FANOUT = 1000
_REST_SECONDS = 1.0
_VOLUMES = spread(range(FULL_NODE), COMPANIONS)


def main() -> int:
    return room.run(_serve)


def _serve() -> int:
    with Stand(lambda text: print(f"* {text}", file=sys.stderr, flush=True)) as stand:
        _name_owner(stand)
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(_round(stand)), flush=True)
    return 0


def _name_owner(stand: Stand) -> None:
    """Have all companions name the namespace to which they belong, as the refresher does."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    stand.plane.api("POST", path.rpartition("/")[0], manifest)
    uid = stand.plane.api("GET", path)["metadata"]["uid"]
    unnamed = Companions._companion  # noqa: SLF001

    def named(self: Companions, *arguments: Any) -> Any:
        return replace(unnamed(self, *arguments), namespace_uid=uid)

    Companions._companion = named  # type: ignore[assignment]  # noqa: SLF001
    for ref in SOURCES:
        stand.companions.change(ref)


def _round(stand: Stand) -> dict[str, list[float]]:
    return _memory(stand) | _times(stand)


def _memory(stand: Stand) -> dict[str, list[float]]:
    """Measure with two brokers, which no time is measured with: they would share our cores."""
    further = [(FULL_NODE + more, SOURCES[COMPANIONS + more]) for more in range(MORE)]
    has_brokers = hasattr(stand, "start_second_broker")
    if has_brokers:
        stand.start_second_broker()
    stand.start()
    stand.publish(_VOLUMES)
    full = _rss(stand)
    stand.publish(further)
    slope = (_rss(stand) - full) / MORE
    stand.clear()
    stand.stop()
    if has_brokers:
        stand.stop_second_broker()
    return {"rss": [full / 1024], "slope": [slope]}


def _times(stand: Stand) -> dict[str, list[float]]:
    ref = SOURCES[COMPANIONS + MORE]
    numbers = range(_FIRST_OF_FANOUT, _FIRST_OF_FANOUT + FULL_NODE)
    stand.start()
    first = stand.publish(_VOLUMES)[:COMPANIONS]
    known = []
    for volume in _VOLUMES:
        stand.unpublish([volume[0]])
        known += stand.publish([volume])
    stand.publish([(number, ref) for number in numbers])
    group = Group(ref, tuple(str(stand.file(number)) for number in numbers), ours=True)
    with Observer(group.files) as observer:
        fanout = [_change(stand, group, observer) for _ in range(CHANGES)]
    stand.clear()
    stand.stop()
    return {"first": first, "known": known, "fanout": fanout}


def _rss(stand: Stand) -> float:
    """KiB, a second after the last publish."""
    time.sleep(_REST_SECONDS)
    return stand.plugin.memory()["Rss"]


if __name__ == "__main__":
    sys.exit(main())
