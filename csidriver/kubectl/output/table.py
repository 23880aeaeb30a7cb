"""Tables as kubectl prints them: columns three spaces apart, cells of one line."""

import re
from collections.abc import Iterable, Iterator, Sequence

_PADDING, _NARROWEST = 3, 6
_BREAK = re.compile("[\f\n\r]")


class Table:
    """Lines of a table. It remembers widths, so that rows of a watch come below each other."""

    def __init__(self, padding: int = _PADDING, narrowest: int = _NARROWEST) -> None:
        self._padding = padding
        self._narrowest = narrowest
        self._widths: list[int] = []

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        table = [[_first_line(cell) for cell in row] for row in rows]
        for row in table:
            self._widen(row)
        for row in table:
            padded = [cell.ljust(self._widths[i]) for i, cell in enumerate(row[:-1])]
            yield "".join([*padded, row[-1]])

    def _widen(self, row: Sequence[str]) -> None:
        missing = len(row) - len(self._widths)
        self._widths += [self._narrowest] * missing
        for i, cell in enumerate(row):
            self._widths[i] = max(self._widths[i], len(cell) + self._padding)


def _first_line(cell: str) -> str:
    found = _BREAK.search(cell)
    return cell if found is None else cell[: found.start()] + "..."
