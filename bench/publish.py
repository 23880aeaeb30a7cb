"""How long kubelet waits for a publish, beside the Go pair, and beside the least that it takes.

That is its system calls, and the reads of pod and namespace for which the broker is asked.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import peer
from bench.node import COMPANIONS, FULL_NODE, NAMESPACE, PODS, SIZES, Caller, Stand, volumes_of
from bench.processes import MEMORY
from bench.report import Row, quotients_of, shares
from bench.servers import Api
from csidriver.adapters.mounts import Mounts

_RECORD = json.dumps({"record": "x" * 500}).encode()  # about what that of a volume has


def measure(*, quick: bool) -> Iterator[Row]:
    """Publish while 109 other volumes are published; all kinds of calls in turn."""
    wanted, rounds = volumes_of(range(FULL_NODE)), range(2 if quick else 5)
    with Stand() as stand:
        stand.start()
        stand.callback(stand.stop)
        first = stand.publish(wanted)[:COMPANIONS]
        yield Row("publish_first_ms", shares([first]))
        pair = stand.enter_context(peer.running())
        if pair is not None:
            for number in range(FULL_NODE):
                pair.publish(number, None)
        floor = _Floor(stand.kubelet.root / "pods", stand.admin)
        taken = [_round(stand, 10 if quick else FULL_NODE, floor, pair) for _ in rounds]

    def of(kind: str, share: float = 0.5) -> list[float]:
        return shares([samples[kind] for samples in taken], share)

    ratio = "publish_p50_ratio_floor"
    yield Row("publish_p50_ms", of("publish"), "<= 4 x", of("floor"), ratio)
    yield Row("publish_p99_ms", of("publish", 0.99), "", of("floor", 0.99))
    yield Row("republish_p50_ms", of("republish"), "", of("empty"))
    yield Row("unpublish_p50_ms", of("unpublish"), "", of("empty"))
    for kind, target in (("publish", ">= 5"), ("republish", ">= 4"), ("unpublish", "")):
        ratios = quotients_of(of(f"go {kind}"), of(kind)) if pair else []
        yield peer.compare(f"{kind}_ratio_go", ratios, target)


def _round(
    stand: Stand, count: int, floor: "_Floor", pair: Caller | None
) -> dict[str, list[float]]:
    """Take all kinds for one volume, then for the next: a slow moment is slow for all."""
    taken: dict[str, list[float]] = {}

    def add(kind: str, milliseconds: float) -> None:
        taken.setdefault(kind, []).append(milliseconds)

    caller = stand.caller
    for number, ref in volumes_of(range(count)):
        add("unpublish", caller.unpublish(number))
        add("publish", caller.publish(number, ref))
        add("republish", caller.publish(number, ref))
        add("empty", caller.do_nothing())
        add("floor", floor.publish(number))
        floor.unpublish()
        if pair is not None:
            add("go unpublish", pair.unpublish(number))
            add("go publish", pair.publish(number, None))
            add("go republish", pair.publish(number, None))
    return taken


class _Floor:
    """The system calls of a publish, below kubelet's folder as the plugin's, and its reads."""

    def __init__(self, pods: Path, api: Api) -> None:
        self._mounts, self._api, self._token = Mounts(), api, b"t" * SIZES[0]
        (pods / "floor").mkdir()
        self._target = pods / "floor/volume"
        # Nothing shares this place, as nothing shares the plugin's view.
        self._folder = MEMORY / "floor"

    def publish(self, number: int) -> float:
        """Milliseconds."""
        folder, target, data = self._folder, self._target, f"{self._folder}/data"
        began = time.perf_counter()
        self._api.send("GET", f"{PODS}/pod-{number}")
        self._api.send("GET", f"/api/v1/namespaces/{NAMESPACE}")
        os.mkdir(folder, 0o700)  # noqa: PTH102 - a floor has no pathlib in it; below as well
        os.mkdir(data, 0o555)  # noqa: PTH102
        _write(f"{data}/draft", self._token, 0o400)
        os.link(f"{data}/draft", f"{data}/token")
        os.unlink(f"{data}/draft")  # noqa: PTH108
        os.mkdir(target, 0o750)  # noqa: PTH102
        self._mounts.bind(Path(data), target)
        _write(f"{folder}/draft", _RECORD, 0o600)
        os.rename(f"{folder}/draft", f"{folder}/record")  # noqa: PTH104
        return 1000 * (time.perf_counter() - began)

    def unpublish(self) -> None:
        self._mounts.unmount(self._target)
        self._target.rmdir()
        for name in ("data/token", "record"):
            (self._folder / name).unlink()
        (self._folder / "data").rmdir()
        self._folder.rmdir()


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, content)
    os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, mode)
    os.close(descriptor)
