"""The results of a bench: numbers by key, and rounds of samples that become one number."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from bench.catalogue import BY_KEY, Entry
from csidriver.demo.report import percentile


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `spread` is its range over the rounds."""

    key: str
    value: float
    spread: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.key not in BY_KEY:
            raise ValueError(f"the catalogue has no {self.key}")

    @property
    def entry(self) -> Entry:
        """The entry of this row in the catalogue."""
        return BY_KEY[self.key]

    def line(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse a line. Raise ValueError."""
        fields = json.loads(line)
        spread = fields["spread"]
        return cls(fields["key"], float(fields["value"]), tuple(spread) if spread else None)


def middle(key: str, values: Sequence[float]) -> Row:
    """Return the median and the range of one value per round."""
    ends = (min(values), max(values)) if len(values) > 1 else None
    return Row(key, statistics.median(values), ends)


def over_rounds(key: str, rounds: Sequence[Sequence[float]], share: float = 0.5) -> Row:
    """Return the median and the range of each round's percentile."""
    return middle(key, shares(rounds, share))


def ratio(
    key: str,
    above: Sequence[Sequence[float]],
    below: Sequence[Sequence[float]],
    share: float = 0.5,
) -> Row:
    """How many times a percentile of one is that of the other, round by round.

    Rounds of both took turns: a machine that is slow for a while is slow for both.
    """
    pairs = zip(shares(above, share), shares(below, share), strict=True)
    return middle(key, [over / under for over, under in pairs])


def shares(rounds: Sequence[Sequence[float]], share: float) -> list[float]:
    """Each round's percentile."""
    return [percentile(list(samples), share) for samples in rounds]
