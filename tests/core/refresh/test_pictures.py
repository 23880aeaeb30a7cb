"""The pictures of a refresh and of the statuses of a token show what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csidriver.core import names
from csidriver.core.refresh.effects import Effect, PatchSecret, RequestToken, SpoolClear, SpoolWrite
from csidriver.core.status import Status
from tests.core.refresh.hooks import Crashed
from tests.core.refresh.virtual_cluster import LIFE, Process

DOCS = Path(__file__).parents[3] / "docs"
REFRESH = (DOCS / "protocol.md").read_text(encoding="utf-8")
STATUSES = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
OBJECTS = {names.DRIVER_NAMESPACE: "grant", names.TOKENS_NAMESPACE: "companion"}


def diagram(page: str, kind: str) -> list[str]:
    block = page.partition(f"```mermaid\n{kind}\n")[2].partition("\n```")[0]
    return [line.strip() for line in block.splitlines()]


def is_call(effect: Effect[Any]) -> bool:
    """Return True for an effect that the picture shows."""
    return isinstance(effect, PatchSecret | SpoolWrite | RequestToken | SpoolClear)


def receiver(effect: Effect[Any]) -> str:
    if isinstance(effect, PatchSecret):
        return f"K: {OBJECTS.get(effect.base.namespace, 'source')}"
    return "A: POST" if isinstance(effect, RequestToken) else "S: "


def test_the_refresh_makes_the_calls_of_its_picture_in_that_order(running: Process) -> None:
    cluster = running.cluster
    cluster.now += LIFE - 600
    cluster.done.clear()
    running.reconcile()
    calls = [receiver(effect) for effect in cluster.done if is_call(effect)]
    arrows = [line for line in diagram(REFRESH, "sequenceDiagram") if line.startswith("R->>")]
    assert len(calls) == len(arrows) == 8
    shown = list(zip(arrows, calls, strict=True))
    assert [pair for pair in shown if not pair[0].startswith(f"R->>{pair[1]}")] == []


def crashes() -> Iterator[tuple[int, bool, str]]:
    """The number of calls before a crash, whether the spool is there, and the cell."""
    for number, container, pod in re.findall(
        r"^\| X(\d) \| (.+) \| (.+) \|$", REFRESH, re.MULTILINE
    ):
        yield int(number), True, container
        yield int(number), False, pod


@pytest.mark.parametrize(("number", "spool_survives", "cell"), list(crashes()))
def test_a_crash_ends_as_the_table_says(
    running: Process, number: int, cell: str, *, spool_survives: bool
) -> None:
    cluster = running.cluster
    cluster.now += LIFE - 600
    calls = 0

    def crash(effect: Effect[Any]) -> None:
        nonlocal calls
        calls += is_call(effect)
        if calls == number:
            raise Crashed

    cluster.after = crash
    with pytest.raises(Crashed):
        running.reconcile()
    cluster.after = lambda _: None
    if not spool_survives:
        cluster.spool.clear()
    survivor = Process(cluster, holder="pod-1" if spool_survives else "pod-2")
    survivor.reconcile()
    survivor.run_for(LIFE)
    way = "Uncertain, then " if "Uncertain" in cluster.reasons() else ""
    assert re.sub(r"^.*: ", "", cell) == f"{way}{cluster.companion().status.value}"


def test_the_table_has_every_crash_of_the_picture() -> None:
    marks = {line for line in diagram(REFRESH, "sequenceDiagram") if re.search(r": X\d$", line)}
    assert {f"Note over R: X{number}" for number, _, _ in crashes()} == marks
    assert len(marks) == 7


def edges() -> set[tuple[str, str]]:
    lines = diagram(STATUSES, "stateDiagram-v2")
    found = (re.match(r"([\w\[*\]]+) --> (\w+)", line) for line in lines)
    return {(edge[1], edge[2]) for edge in found if edge}


def test_the_picture_has_every_status() -> None:
    shown = {state for edge in edges() for state in edge} - {"[*]"}
    assert shown == {status.value for status in Status}
