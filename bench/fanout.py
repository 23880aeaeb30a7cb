"""How soon a new token is in every file, counted from the refresher's request to the API server.

Beside it a bare watcher, which writes the same bytes to as many files of its own.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.bare_watch import BareWatch
from bench.catalogue import FANOUT_SIZES
from bench.observer import Observer
from bench.room import MEMORY
from bench.rows import Row, over_rounds, ratio
from bench.stand import SOURCES, Stand
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError

ROUNDS, QUICK_ROUNDS = 5, 3
CHANGES, QUICK_CHANGES = 60, 8
FULL_NODE = 110
# Seconds: for all files, and at most between two changes.
TIMEOUT, LONGEST_PAUSE = 10.0, 0.02


@dataclass(frozen=True, slots=True)
class Group:
    """Files that show the token of one companion; written by the plugin or by the bare watcher."""

    ref: SourceRef
    files: tuple[str, ...]
    ours: bool

    @property
    def size(self) -> int:
        """How many files."""
        return len(self.files)


# Milliseconds until the last file had the token, by number of files and whether they are ours.
Taken = dict[tuple[int, bool], list[float]]


def measure(say: Callable[[str], None], *, quick: bool) -> Iterator[Row]:
    """Change tokens that few or many files show, of ours and of the bare watcher in turn."""
    with Stand(say) as stand, ExitStack() as stack:
        stand.start()
        stack.callback(stand.stop)
        stack.callback(stand.clear)
        groups = [*_ours(stand), *_bare(stand, stack)]
        observer = stack.enter_context(Observer(file for group in groups for file in group.files))
        for group in groups:
            _change(stand, group, observer)
        rounds = []
        for number in range(count := QUICK_ROUNDS if quick else ROUNDS):
            say(f"round {number + 1} of {count}")
            rounds.append(_round(stand, groups, observer, QUICK_CHANGES if quick else CHANGES))
    yield from _rows(rounds)


def _ours(stand: Stand) -> Iterator[Group]:
    first = 0
    for size, ref in zip(FANOUT_SIZES, SOURCES, strict=False):
        numbers = range(first, first + size)
        first += size
        stand.publish([(number, ref) for number in numbers])
        yield Group(ref, tuple(str(stand.file(number)) for number in numbers), ours=True)


def _bare(stand: Stand, stack: ExitStack) -> Sequence[Group]:
    refs = SOURCES[len(FANOUT_SIZES) : 2 * len(FANOUT_SIZES)]
    folder = MEMORY / "bare"
    folder.mkdir()
    groups = []
    for size, ref in zip(FANOUT_SIZES, refs, strict=True):
        files = tuple(str(folder / f"{size}-{number}") for number in range(size))
        for file in files:
            Path(file).touch()
        groups.append(Group(ref, files, ours=False))
    (user,) = json.loads(stand.rights.read_text(encoding="utf-8"))["users"]
    files_by_name = {group.ref.companion: group.files for group in groups}
    plane = stand.plane
    stack.enter_context(BareWatch(plane.port, plane.ca, user["user"]["token"], files_by_name))
    return groups


def _round(stand: Stand, groups: Sequence[Group], observer: Observer, changes: int) -> Taken:
    taken: Taken = {(group.size, group.ours): [] for group in groups}
    for _ in range(changes):
        for group in groups:
            taken[group.size, group.ours].append(_change(stand, group, observer))
    return taken


def _rows(rounds: Sequence[Taken]) -> Iterator[Row]:
    def whole(size: int, *, ours: bool) -> list[list[float]]:
        return [taken[size, ours] for taken in rounds]

    for size in FANOUT_SIZES:
        for name, ours in (("", True), ("floor_", False)):
            yield over_rounds(f"fanout_{size}_{name}p99_ms", whole(size, ours=ours), 0.99)
            yield over_rounds(f"fanout_{size}_{name}p50_ms", whole(size, ours=ours))
    yield ratio("fanout_ratio_floor", whole(FULL_NODE, ours=True), whole(FULL_NODE, ours=False))


def _change(stand: Stand, group: Group, observer: Observer) -> float:
    """Milliseconds from the request of one new token until its last file was written."""
    time.sleep(random.uniform(0.0, LONGEST_PAUSE))  # noqa: S311 - no secret
    observer.forget()
    began = time.time_ns()
    token = stand.companions.change(group.ref)
    last = observer.last(group.files, TIMEOUT)
    for file in group.files:
        if Path(file).read_text(encoding="ascii") != token:
            raise DriverError(f"{file} does not hold the new token")
    return (last - began) / 1e6
