import json
from typing import Any

import pytest

from csidriver.core.admission.annotation import ParsedAnnotation, parse

VALID = {"secretName": "hello-token", "container": "main", "owner": 0}


def of(*elements: Any) -> ParsedAnnotation:
    return parse(json.dumps(elements))


def test_a_valid_entry_is_read() -> None:
    parsed = of(VALID)
    (entry,) = parsed.entries
    assert (entry.secret_name, entry.container, entry.owner) == ("hello-token", "main", 0)
    assert entry.template_config_map is None
    assert parsed.problems == parsed.warnings == ()


def test_an_empty_array_asks_for_nothing() -> None:
    assert parse(" [ ] ") == ParsedAnnotation(())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"owner": 2**32 - 2}, id="last uid"),
        pytest.param({"secretName": "a"}, id="name of one character"),
        pytest.param({"secretName": "a.b-c.0"}, id="name with dots"),
        pytest.param({"secretName": "a" * 253}, id="longest name"),
        pytest.param({"templateConfigMapName": "eos"}, id="template"),
        pytest.param({"owner": 0}, id="first uid"),
    ],
)
def test_values_at_the_edge_are_taken(change: dict[str, Any]) -> None:
    parsed = of(VALID | change)
    assert parsed.problems == ()
    assert len(parsed.entries) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"owner": -1}, "owner", id="negative owner"),
        pytest.param({"owner": 2**32 - 1}, "owner", id="owner that means no id"),
        pytest.param({"owner": True}, "owner", id="bool owner"),
        pytest.param({"owner": "0"}, "owner", id="owner in quotes"),
        pytest.param({"owner": 0.0}, "owner", id="float owner"),
        pytest.param({"owner": ""}, "owner", id="empty owner"),
        pytest.param({"secretName": "Hello"}, "secretName", id="upper case"),
        pytest.param({"secretName": ""}, "secretName", id="empty name"),
        pytest.param({"secretName": "a" * 254}, "secretName", id="name too long"),
        pytest.param({"secretName": "a..b"}, "secretName", id="empty label"),
        pytest.param({"secretName": "-a"}, "secretName", id="leading dash"),
        pytest.param({"secretName": "a\n"}, "secretName", id="trailing newline"),
        pytest.param({"secretName": "ns/a"}, "secretName", id="slash"),
        pytest.param({"secretName": ["a"]}, "secretName", id="list as name"),
        pytest.param({"container": 7}, "container", id="number as container"),
        pytest.param({"container": "\ud800"}, "container", id="surrogate"),
        pytest.param({"templateConfigMapName": 0}, "templateConfigMapName", id="zero as template"),
        pytest.param({"templateConfigMapName": []}, "templateConfigMapName", id="list as template"),
    ],
)
def test_a_wrong_value_is_named_with_its_field_and_entry(
    change: dict[str, Any], field: str
) -> None:
    parsed = of(VALID, VALID | change)
    assert len(parsed.entries) == 1
    (problem,) = parsed.problems
    assert problem.startswith(f'entry 2 of 2: field "{field}" ')


@pytest.mark.parametrize("field", ["secretName", "container"])
@pytest.mark.parametrize("without", [{}, None], ids=["absent", "null"])
def test_a_missing_field_is_named(field: str, without: Any) -> None:
    rest = {key: value for key, value in VALID.items() if key != field}
    parsed = of(rest if without == {} else rest | {field: None})
    assert parsed.entries == ()
    assert parsed.problems == (f'entry 1 of 1: field "{field}" is missing; add it',)


def test_a_misspelt_required_field_is_recognised() -> None:
    parsed = of({"secretNames": "hello-token", "container": "main", "owner": 0})
    (problem,) = parsed.problems
    assert '"secretName" is missing' in problem
    assert '"secretNames"' in problem


def test_all_faults_are_reported_at_once() -> None:
    parsed = of({}, {"secretName": "A", "container": 1, "owner": "x"}, 7)
    assert len(parsed.problems) == 6


@pytest.mark.parametrize("element", [1, "hello-token", None, [], True])
def test_an_element_that_is_no_object_is_a_problem(element: Any) -> None:
    (problem,) = of(element).problems
    assert problem.startswith("entry 1 of 1 is not an object")


@pytest.mark.parametrize("text", ["{}", "7", '"a"', "false"])
def test_anything_but_an_array_is_a_problem(text: str) -> None:
    parsed = parse(text)
    assert parsed.entries == ()
    assert len(parsed.problems) == 1


def test_bad_json_is_located_and_never_echoed() -> None:
    (problem,) = parse('[\n  {"secretName": "eyJsecret" "container": 1}\n]').problems
    assert "line 2 column " in problem
    assert "eyJsecret" not in problem


def test_a_value_that_fails_its_check_is_never_echoed() -> None:
    parsed = of(dict.fromkeys([*VALID, "templateConfigMapName"], "eyJ.NEEDLE"))
    assert len(parsed.problems) == 4
    assert "NEEDLE" not in repr(parsed)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('[{"owner": NaN}]', id="NaN"),
        pytest.param("[-Infinity]", id="infinity"),
        pytest.param("[" + "9" * 5000 + "]", id="endless number"),
        pytest.param("[" * 200_000, id="endless nesting"),
        pytest.param("\ufeff[]", id="byte order mark"),
        pytest.param("[{},]", id="trailing comma"),
    ],
)
def test_what_is_not_json_is_one_problem(text: str) -> None:
    parsed = parse(text)
    assert parsed.entries == ()
    assert len(parsed.problems) == 1


@pytest.mark.parametrize(
    ("text", "owner", "template"),
    [
        pytest.param('{"secretName": "s", "container": "c"}', 0, None, id="no owner"),
        pytest.param('{"secretName": "s", "container": "c", "owner": null}', 0, None, id="null"),
        pytest.param(
            '{"SecretName": "s", "CONTAINER": "c", "Owner": 7, "templateconfigmapname": "t"}',
            7,
            "t",
            id="other case",
        ),
        pytest.param(
            '{"\\u017fecretName": "s", "container": "c"}',
            0,
            None,
            id="the other small s of Unicode",
        ),
        pytest.param(
            '{"secretName": "s", "container": "c", "templateConfigMapName": ""}',
            0,
            None,
            id="empty template",
        ),
        pytest.param(
            '{"secretName": "s", "container": "c", "templateConfigMapName": null}',
            0,
            None,
            id="null template",
        ),
    ],
)
def test_an_entry_is_read_as_a_go_decoder_reads_it(
    text: str, owner: int, template: str | None
) -> None:
    parsed = parse(f"[{text}]")
    (entry,) = parsed.entries
    assert (entry.secret_name, entry.container) == ("s", "c")
    assert (entry.owner, entry.template_config_map) == (owner, template)
    assert parsed.problems == parsed.warnings == ()


def test_an_annotation_of_null_asks_for_nothing() -> None:
    """As `toJson` of a Helm value that is not set writes it."""
    assert parse("null") == ParsedAnnotation(())


@pytest.mark.parametrize(
    ("first", "last", "owner"),
    [
        pytest.param('"owner": 1', '"owner": 2', 2, id="same key"),
        pytest.param('"owner": 1', '"OWNER": 2', 2, id="in other case"),
        pytest.param('"Owner": 1', '"owner": 2', 2, id="in known case last"),
    ],
)
def test_of_a_field_given_twice_the_last_counts_with_a_warning(
    first: str, last: str, owner: int
) -> None:
    parsed = parse(f'[{{{first}, "secretName": "a", "container": "c", {last}}}]')
    (entry,) = parsed.entries
    assert entry.owner == owner
    (warning,) = parsed.warnings
    assert 'more than once: "owner"' in warning


def test_null_does_not_take_a_value_back() -> None:
    parsed = parse('[{"owner": 1, "secretName": "a", "container": "c", "owner": null}]')
    assert [entry.owner for entry in parsed.entries] == [1]
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        pytest.param("templateConfigMap", "templateConfigMapName", id="near"),
        pytest.param("zzz", None, id="far"),
    ],
)
def test_an_unknown_field_is_a_warning_with_the_nearest_known_one(
    key: str, hint: str | None
) -> None:
    parsed = of(VALID | {key: "x"})
    assert len(parsed.entries) == 1
    (warning,) = parsed.warnings
    assert f'"{key}"' in warning
    assert ("did you mean" in warning) is (hint is not None)
    assert hint is None or f'"{hint}"' in warning


def test_a_hundred_entries_are_allowed_and_more_are_not() -> None:
    assert len(of(*[VALID] * 100).entries) == 100
    over = of(*[VALID] * 101)
    assert over.entries == ()
    assert len(over.problems) == 1


def test_an_annotation_longer_than_an_object_may_have_is_not_looked_at() -> None:
    longest = 256 << 10
    entry = json.dumps([VALID])
    assert len(parse(entry.ljust(longest)).entries) == 1
    assert parse(entry.ljust(longest + 1)).entries == ()
    (problem,) = parse("[" * (longest + 1)).problems
    assert str(longest) in problem


def test_of_many_fields_only_the_first_are_searched_for_what_was_meant() -> None:
    """The search is slow: with all of them one annotation would take many seconds."""
    fields = {f"field{number}": 0 for number in range(20)}
    (hinted,) = of({"secretNames": 0} | fields | {"container": "a", "owner": 0}).problems
    assert '"secretNames"' in hinted
    (problem,) = of(fields | {"secretNames": 0, "container": "a", "owner": 0}).problems
    assert problem.endswith("add it")


def test_the_volume_depends_on_secret_owner_and_template_but_not_on_the_container() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"secretName": "other"},
        {"owner": 1},
        {"templateConfigMapName": "eos"},
    ]
    names = [entry.volume["name"] for entry in of(*[VALID | c for c in changes]).entries]
    assert len(set(names)) == 4
    (moved,) = of(VALID | {"container": "side"}).entries
    assert moved.volume["name"] == names[0]


def test_the_volume_name_never_changes_between_releases() -> None:
    """Idempotence across webhook versions hangs on it, so the value is written out."""
    (entry,) = of(VALID).entries
    assert entry.volume["name"] == "oauth2-50d83a19b6"
