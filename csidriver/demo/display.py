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

    from csidriver.demo.environment import AdmittedPod

# Seconds between two lines where there is no terminal to repaint.
PLAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: one container's token file. `left` in seconds."""

    pod: str
    owner: str
    inode: int
    generation: int
    expires_in: float
    reads: int
    bad_reads: int


_COLUMNS = ("pod", "token file", "inode", "generation", "expires in", "reads", "bad reads")


class Display:
    """Writes to standard output. `live` asks for a table that repaints itself."""

    def __init__(self, *, live: bool) -> None:
        self._wants_live = live
        self._live: Live | None = None
        self._printed_at = 0.0

    def print_step(self, text: str) -> None:
        """One line of the story."""
        print(f"* {text}", flush=True)  # noqa: T201 - the terminal is the place

    def print_diff(self, admitted: "AdmittedPod") -> None:
        """What admission added to a pod, as a diff of its YAML."""
        before, after = (
            yaml.safe_dump(manifest["spec"], sort_keys=False).splitlines()
            for manifest in (admitted.before, admitted.after)
        )
        for line in difflib.ndiff(before, after):
            if line.startswith(("+ ", "- ")):
                print(f"    {line}", flush=True)  # noqa: T201 - the terminal is the place

    @contextlib.contextmanager
    def table(self) -> Iterator[None]:
        """While open, `rows` repaints the table, or prints lines where nothing can be repainted."""
        with contextlib.ExitStack() as stack:
            if self._wants_live:
                # An extra: without it the demo is plain, not broken.
                with contextlib.suppress(ImportError):
                    from rich.live import Live  # noqa: PLC0415 - an optional library

                    self._live = stack.enter_context(Live(auto_refresh=False))
            yield
        self._live = None

    def update(self, rows: Sequence[Row], report: Report) -> None:
        """Show the state of every container, and the numbers so far."""
        if self._live is not None:
            self._live.update(_table(rows, report), refresh=True)
        elif time.monotonic() >= self._printed_at + PLAIN_SECONDS:
            self._printed_at = time.monotonic()
            for row in rows:
                print("  " + "  ".join(_cells(row)), flush=True)  # noqa: T201 - as above

    def print_report(self, report: Report) -> None:
        """The end of the story."""
        self.print_step(
            f"{report.refreshes} refreshes, {report.rewrites} rewrites in place "
            f"({report.leased_rewrites} under a lease), {report.reads} reads: "
            f"{report.torn_reads} torn, {report.expired_reads} expired, "
            f"{report.inode_changes} inode changes; no refresh token was presented more than "
            f"{report.max_presentations_per_refresh_token} time(s)"
        )
        self.print_step(
            "every promise was kept" if report.promises_kept else "A PROMISE WAS BROKEN"
        )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.pod,
        row.owner,
        f"inode {row.inode}",
        f"generation {row.generation}",
        f"{row.expires_in:.0f} s left",
        f"{row.reads:,} reads",
        f"{row.bad_reads} bad",
    )


def _table(rows: Sequence[Row], report: Report) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - an optional library

    table = Table(
        *_COLUMNS, caption=f"{report.refreshes} refreshes, {report.rewrites} rewrites; ^C ends"
    )
    for row in rows:
        owner, inode, generation, left = row.owner, row.inode, row.generation, row.expires_in
        style = "bold red" if row.bad_reads else ""
        table.add_row(
            row.pod,
            owner,
            str(inode),
            str(generation),
            f"{left:.0f} s",
            f"{row.reads:,}",
            str(row.bad_reads),
            style=style,
        )
    return table
