"""Plots show what was measured, legibly, and leave out what was not."""

import xml.etree.ElementTree as ET

import pytest

from bench.catalogue import FANOUT_SIZES, RSS_SIZES
from bench.plots import PLOTS, apart, fanout, memory, steps

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = {
    **{f"node_rss_{size}_mib": 48.0 + size / 50 for size in RSS_SIZES},
    **{f"node_rss_{size}_go_mib": 40.0 + size / 90 for size in RSS_SIZES},
    "node_rss_floor_mib": 37.0,
    **{f"fanout_{size}_{kind}_ms": 5.0 + size / 9 for size in FANOUT_SIZES for kind in ("p50",)},
    **{f"fanout_{size}_p99_ms": 9.0 + size / 6 for size in FANOUT_SIZES},
    **{f"fanout_{size}_floor_p50_ms": 5.0 for size in FANOUT_SIZES},
    **{f"fanout_{size}_floor_p99_ms": 5.1 for size in FANOUT_SIZES},
}


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    return [str(one.text) for one in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_svg_with_units_and_stays_within_its_box(name: str) -> None:
    root = ET.fromstring(PLOTS[name](NUMBERS))  # noqa: S314 - our own text
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for circle in root.iter(f"{SVG}circle"):
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height
    assert any(unit in " ".join(texts(PLOTS[name](NUMBERS))) for unit in ("MiB", "ms"))


def test_memory_shows_ours_the_pair_and_the_floor() -> None:
    shown = texts(memory(NUMBERS))
    assert "oauth2-csi: 53 MiB" in shown
    assert "Go pair: 42.8 MiB" in shown
    assert "empty grpcio: 37 MiB" in shown
    alone = {key: value for key, value in NUMBERS.items() if "_go_" not in key}
    assert not any("Go pair" in text for text in texts(memory(alone)))


def test_a_higher_value_is_drawn_higher() -> None:
    root = ET.fromstring(fanout(NUMBERS))  # noqa: S314 - our own text
    first = [float(c.attrib["cy"]) for c in root.iter(f"{SVG}circle")][: len(FANOUT_SIZES)]
    assert first == sorted(first, reverse=True)
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("highest", "last"), [(1, 1), (0.3, 0.3), (21.9, 25), (52.5, 60), (99, 100), (110, 120)]
)
def test_axes_end_at_a_round_number_near_the_highest_value(highest: float, last: float) -> None:
    marks = steps(highest)
    assert marks[0] == 0
    assert marks[-1] == last
    assert 4 <= len(marks) <= 8


def test_labels_do_not_overlap_and_keep_their_order() -> None:
    assert apart([100.0, 10.0], 18) == [100.0, 10.0]
    assert apart([50.0, 50.0], 18) == [41.0, 59.0]
    crowded = apart([50.0, 48.0, 52.0, 200.0], 18)
    assert crowded == [50.0, 32.0, 68.0, 200.0]


def test_nothing_measured_is_an_empty_plot() -> None:
    for draw in PLOTS.values():
        assert "<circle" not in draw({})
