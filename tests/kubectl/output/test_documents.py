from typing import Any

import pytest
import yaml

from csidriver.kubectl.output.documents import to_json, to_yaml

DOCUMENT = {
    "kind": "List",
    "items": [
        {"name": "a", "empty": [], "none": None, "map": {}, "pods": ["b", "c"]},
        ["x", ["y"], {"z": 1.5}],
        {},
    ],
    "on": True,
    "number": 7,
}


@pytest.mark.parametrize(
    "value",
    [
        *(DOCUMENT, {}, [], "plain", "", "true", "null", "1e3", "1_000", "12:30", "2026-01-02"),
        *("a: b", "a #b", "- d", "@x", "&x", "*x", "!x", "[x", "{x", "a:", "?", "<<", "'", '"'),
        *("line\nbreak", "tab\t", " space ", "a  b", "ü 票", "\x1b", "\u2028", "\ud7ff", "\x85"),
    ],
)
def test_yaml_is_read_as_what_was_written(value: Any) -> None:
    for wrapped in (value, [value], {"key": value}):
        assert yaml.safe_load(to_yaml(wrapped)) == wrapped


def test_json_has_kubectls_form() -> None:
    assert to_json({"b": ["ü\x1b"], "a": 1}) == (
        '{\n    "a": 1,\n    "b": [\n        "ü\\u001b"\n    ]\n}'
    )
