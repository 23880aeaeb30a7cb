"""What the demo shows: a story in lines, and a table that lives on a terminal."""

import contextlib
import difflib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from csidriver.demo.report import Report

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from csidriver.demo.environment import Admitted

# Seconds between two lines where there is no terminal to repaint.
PLAIN_EVERY = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: one container's token file. `left` in seconds."""

    pod: str
    owner: str
    inode: int
    generation: int
    left: float
    reads: int
    bad: int


_COLUMNS = ("pod", "token file", "inode", "generation", "expires in", "reads", "bad reads")


class Display:
    """Writes to standard output. `live` asks for a table that repaints itself."""

    def __init__(self, *, live: bool) -> None:
        self._live_wanted = live
        self._live: Live | None = None
        self._printed = 0.0

    def say(self, text: str) -> None:
        """One line of the story."""
        print(f"* {text}", flush=True)  # noqa: T201 - the terminal is the place

    def changes(self, pod: "Admitted") -> None:
        """What admission added to a pod, as a diff of its YAML."""
        before, after = (
            yaml.safe_dump(manifest["spec"], sort_keys=False).splitlines()
            for manifest in (pod.before, pod.after)
        )
        for line in difflib.ndiff(before, after):
            if line.startswith(("+ ", "- ")):
                print(f"    {line}", flush=True)  # noqa: T201 - the terminal is the place

    @contextlib.contextmanager
    def table(self) -> Iterator[None]:
        """While open, `rows` repaints the table, or prints lines where nothing can be repainted."""
        with contextlib.ExitStack() as stack:
            if self._live_wanted:
                # An extra: without it the demo is plain, not broken.
                with contextlib.suppress(ImportError):
                    from rich.live import Live  # noqa: PLC0415 - an optional library

                    self._live = stack.enter_context(Live(auto_refresh=False))
            yield
        self._live = None

    def rows(self, rows: Sequence[Row], verdict: Report) -> None:
        """Show the state of every container, and the numbers so far."""
        if self._live is not None:
            self._live.update(_painted(rows, verdict), refresh=True)
        elif time.monotonic() >= self._printed + PLAIN_EVERY:
            self._printed = time.monotonic()
            for row in rows:
                print("  " + "  ".join(_cells(row)), flush=True)  # noqa: T201 - as above

    def result(self, verdict: Report) -> None:
        """The end of the story."""
        self.say(
            f"{verdict.refreshes} refreshes, {verdict.rewrites} rewrites in place "
            f"({verdict.leased_rewrites} under a lease), {verdict.reads} reads: "
            f"{verdict.torn_reads} torn, {verdict.expired_reads} expired, "
            f"{verdict.inode_changes} inode changes; no refresh token was presented more than "
            f"{verdict.max_presentations_per_refresh_token} time(s)"
        )
        self.say("every promise was kept" if verdict.kept else "A PROMISE WAS BROKEN")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.pod,
        row.owner,
        f"inode {row.inode}",
        f"generation {row.generation}",
        f"{row.left:.0f} s left",
        f"{row.reads:,} reads",
        f"{row.bad} bad",
    )


def _painted(rows: Sequence[Row], verdict: Report) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - an optional library

    table = Table(
        *_COLUMNS, caption=f"{verdict.refreshes} refreshes, {verdict.rewrites} rewrites; ^C ends"
    )
    for row in rows:
        owner, inode, generation, left = row.owner, row.inode, row.generation, row.left
        style = "bold red" if row.bad else ""
        table.add_row(
            row.pod,
            owner,
            str(inode),
            str(generation),
            f"{left:.0f} s",
            f"{row.reads:,}",
            str(row.bad),
            style=style,
        )
    return table
