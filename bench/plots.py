"""The plots of docs/evidence/performance.md as SVG, drawn as text from results.json."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.catalogue import FANOUT_SIZES, RSS_SIZES

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 66, 56
_LINE = 18  # pixels from one label to the next
_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#e4e7eb"
_OURS, _GO, _FLOOR = "#0b63c5", "#c2571a", "#7a838c"
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"

Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its points, and what stands at its end."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one axis; `ticks` are the values on x that were measured."""

    title: str
    x_label: str
    y_label: str
    unit: str
    ticks: tuple[float, ...]
    series: tuple[Series, ...]

    def svg(self) -> str:
        """Return the picture as SVG."""
        body = "\n".join(self._parts())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" role="img" font-family="{_FONT}">\n'
            f"<title>{escape(self.title)}</title>\n"
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>\n{body}\n</svg>\n'
        )

    @property
    def top(self) -> float:
        """The end of the y axis: a round number above all points."""
        highest = max((y for one in self.series for _, y in one.points), default=1.0)
        return steps(highest)[-1]

    def _x(self, value: float) -> float:
        span = max(self.ticks) - min(0.0, *self.ticks)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / span

    def _y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.top

    def _parts(self) -> Iterator[str]:
        yield _text(_LEFT - 44, 28, self.title, size=16, weight=600)
        yield _text(_LEFT - 44, 47, self.y_label, size=12, colour=_FAINT)
        left, right = _LEFT, _WIDTH - _RIGHT
        for value in steps(self.top):
            y = self._y(value)
            colour = _FAINT if value == 0 else _GRID
            yield f'<path d="M{left} {y:.1f}H{right}" stroke="{colour}" fill="none"/>'
            yield _text(left - 8, y + 4, f"{value:g}", size=12, colour=_FAINT, anchor="end")
        for tick in self.ticks:
            x, y = self._x(tick), self._y(0)
            yield f'<path d="M{x:.1f} {y:.1f}v5" stroke="{_FAINT}" fill="none"/>'
            yield _text(x, y + 20, f"{tick:g}", size=12, colour=_FAINT, anchor="middle")
        yield _text((left + right) / 2, _HEIGHT - 14, self.x_label, size=12, colour=_FAINT,
                    anchor="middle")  # fmt: skip
        for one in self.series:
            yield from self._line(one)
        yield from self._labels()

    def _line(self, one: Series) -> Iterator[str]:
        places = [(self._x(x), self._y(y)) for x, y in one.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dash = ' stroke-dasharray="6 4"' if one.dashed else ""
        yield (
            f'<path d="M{path}" stroke="{one.colour}" stroke-width="2.25" '
            f'stroke-linejoin="round" fill="none"{dash}/>'
        )
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{one.colour}"/>'

    def _labels(self) -> Iterator[str]:
        wanted = [self._y(one.points[-1][1]) for one in self.series]
        for one, y in zip(self.series, apart(wanted, _LINE), strict=True):
            x, value = self._x(one.points[-1][0]) + 12, one.points[-1][1]
            text = f"{one.label}: {value:.3g} {self.unit}"
            yield _text(x, y + 4, text, size=12, colour=one.colour, weight=600)


def steps(highest: float) -> list[float]:
    """Round numbers from 0 to the first one that is not below `highest`, four to eight of them."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = 10.0 ** math.floor(math.log10(highest))
    step = next(s for f in (0.2, 0.25, 0.5, 1, 2) if highest / (s := f * rough) <= 6)  # noqa: PLR2004
    return [round(step * number, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def apart(wanted: Sequence[float], distance: float) -> list[float]:
    """Places in the order given, as near to the wanted ones as they can be without overlap."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[list[float]] = []  # middle of what was wanted, and how many
    for index in order:
        groups.append([wanted[index], 1])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], distance):
            middle, count = groups.pop()
            before, others = groups.pop()
            whole = others + count
            groups.append([(before * others + middle * count) / whole, whole])
    places = [
        middle + distance * (number - (count - 1) / 2)
        for middle, count in groups
        for number in range(int(count))
    ]
    return [places[order.index(index)] for index in range(len(wanted))]


def _overlap(upper: Sequence[float], lower: Sequence[float], distance: float) -> bool:
    return lower[0] - upper[0] < distance * (upper[1] + lower[1]) / 2


def memory(numbers: Numbers) -> str:
    """RSS over volumes."""
    kinds = (
        ("oauth2-csi", "node_rss_{}_mib", _OURS),
        ("Go pair", "node_rss_{}_go_mib", _GO),
    )
    series = [
        Series(label, points, colour)
        for label, key, colour in kinds
        if (points := _points(numbers, key, RSS_SIZES))
    ]
    if "node_rss_floor_mib" in numbers:
        flat = tuple((float(size), numbers["node_rss_floor_mib"]) for size in RSS_SIZES)
        series.append(Series("empty grpcio", flat, _FLOOR, dashed=True))
    return Chart(
        "Memory of a node pod over its volumes, on 20 tokens",
        "volumes on the node",
        "RSS in MiB",
        "MiB",
        tuple(map(float, RSS_SIZES)),
        tuple(series),
    ).svg()


def fanout(numbers: Numbers) -> str:
    """Latency over files."""
    kinds = (
        ("oauth2-csi p99", "fanout_{}_p99_ms", _OURS, True),
        ("oauth2-csi p50", "fanout_{}_p50_ms", _OURS, False),
        ("bare p99", "fanout_{}_floor_p99_ms", _FLOOR, True),
        ("bare p50", "fanout_{}_floor_p50_ms", _FLOOR, False),
    )
    series = [
        Series(label, points, colour, dashed)
        for label, key, colour, dashed in kinds
        if (points := _points(numbers, key, FANOUT_SIZES))
    ]
    return Chart(
        "From the new token at the API server to the last file",
        "files that show the token",
        "milliseconds; bare: a watch and pwrite(2) of the same bytes, nothing else",
        "ms",
        tuple(map(float, FANOUT_SIZES)),
        tuple(series),
    ).svg()


PLOTS: Mapping[str, Callable[[Numbers], str]] = {"memory": memory, "fanout": fanout}


def _points(numbers: Numbers, key: str, sizes: Sequence[int]) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(size), numbers[name]) for size in sizes if (name := key.format(size)) in numbers
    )


def _text(  # noqa: PLR0913 - what SVG has
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    colour: str = _INK,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )
