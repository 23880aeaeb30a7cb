"""JSON and YAML."""

from typing import Any

import pytest
import yaml

from csidriver.kubectl.output.documents import to_json, to_list, to_yaml

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


def test_yaml_has_kubectls_form() -> None:
    text = to_yaml({"items": [{"a": "x: y", "b": ["c"]}], "kind": "List", "m": {"o": "2026-01-02"}})
    assert text == ('items:\n- a: "x: y"\n  b:\n  - c\nkind: List\nm:\n  o: "2026-01-02"')


@pytest.mark.parametrize(
    "value",
    [
        *(DOCUMENT, {}, [], "plain", "a: b", "# c", "- d", "", "true", "No", "null", "~", "1e3"),
        *(
            "0x10",
            "1_000",
            "12:30",
            "2026-01-02",
            "line\nbreak",
            "tab\t",
            " space ",
            "ü 票",
            "\x1b",
        ),
        *("'", '"', "@x", "`x", "%x", "&x", "*x", "!x", "[x", "{x", "a #b", "a:", "?", "=", "<<"),
        *(".inf", ".NaN", "y", "N", "off", "\u2028", "a  b", "a ", "\ud7ff", "\x85"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "in a list", "in a map"])
def test_yaml_is_read_as_what_was_written(value: Any, place: str) -> None:
    wrapped = {"alone": value, "in a list": [value], "in a map": {"key": value}}[place]
    assert yaml.safe_load(to_yaml(wrapped)) == wrapped


def test_json_has_kubectls_form() -> None:
    assert to_json({"b": ["ü"], "a": 1}) == '{\n    "a": 1,\n    "b": [\n        "ü"\n    ]\n}'


def test_a_list_is_one_of_kubernetes() -> None:
    listed = to_list([{"kind": "Token"}])
    assert (listed["kind"], listed["apiVersion"]) == ("List", "v1")
    assert listed["items"] == [{"kind": "Token"}]
