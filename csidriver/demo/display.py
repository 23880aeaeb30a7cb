"""The demo's output: a line per step, and a table that a terminal repaints."""

import contextlib
import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from csidriver.demo.report import Report

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from csidriver.demo.environment import AdmittedPod

# Seconds between two prints of the table without a terminal.
PLAIN_SECONDS = 2.0


# A row of the table, one for each container's token file: texts by column.
Row = Mapping[str, str]
BAD_READS = "bad reads"


class Display:
    """Writes to standard output. If `live`, a terminal repaints the table."""

    def __init__(self, *, live: bool) -> None:
        self._wants_live = live
        self._live: Live | None = None
        self._printed_at = 0.0

    def print_step(self, text: str) -> None:
        print(f"* {text}", flush=True)  # noqa: T201 - the terminal is the place

    def print_diff(self, admitted: "AdmittedPod") -> None:
        """Print what admission added to a pod, as a diff of its YAML."""
        before, after = (
            yaml.safe_dump(manifest["spec"], sort_keys=False).splitlines()
            for manifest in (admitted.before, admitted.after)
        )
        for line in difflib.ndiff(before, after):
            if line.startswith(("+ ", "- ")):
                print(f"    {line}", flush=True)  # noqa: T201 - the terminal is the place

    @contextlib.contextmanager
    def table(self) -> Iterator[None]:
        """Open the table that `update` repaints."""
        with contextlib.ExitStack() as stack:
            if self._wants_live:
                # rich is an extra: without it the demo prints plain lines.
                with contextlib.suppress(ImportError):
                    from rich.live import Live  # noqa: PLC0415 - an optional library

                    self._live = stack.enter_context(Live(auto_refresh=False))
            yield
        self._live = None

    def update(self, rows: Sequence[Row], report: Report) -> None:
        if self._live is not None:
            self._live.update(_table(rows, report), refresh=True)
        elif time.monotonic() >= self._printed_at + PLAIN_SECONDS:
            self._printed_at = time.monotonic()
            for row in rows:
                cells = "  ".join(f"{column}: {text}" for column, text in row.items())
                print(f"  {cells}", flush=True)  # noqa: T201 - as above

    def print_report(self, report: Report) -> None:
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


def _table(rows: Sequence[Row], report: Report) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - an optional library

    caption = f"{report.refreshes} refreshes, {report.rewrites} rewrites; ^C ends"
    table = Table(*(column for row in rows[:1] for column in row), caption=caption)
    for row in rows:
        table.add_row(*row.values(), style="" if row[BAD_READS] == "0" else "bold red")
    return table
