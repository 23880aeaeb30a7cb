import json
from typing import Any

import pytest

from csidriver.core.admission.annotation import ParsedAnnotation, parse

VALID = {"secretName": "hello-token", "container": "main", "owner": 0}


def of(*elements: Any) -> ParsedAnnotation:
    return parse(json.dumps(elements))


def test_an_unset_helm_value_asks_for_nothing() -> None:
    assert parse("null") == ParsedAnnotation(())


def test_values_at_the_edge_are_taken() -> None:
    names: list[dict[str, Any]] = [{"secretName": name} for name in ("a", "a.b-c.0", "a" * 253)]
    changes = [*names, {"owner": 2**32 - 2}, {"templateConfigMapName": "eos"}]
    parsed = of(*[VALID | change for change in changes])
    assert parsed.problems == ()
    assert len(parsed.entries) == len(changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("owner", value) for value in (-1, 2**32 - 1, True, "0", 0.0, "")),
        *(("secretName", value) for value in ("Hello", "", "a" * 254, "a..b", "-a", "a\n")),
        ("secretName", ["a"]),
        *(("container", value) for value in (7, "\ud800")),
        *(("templateConfigMapName", 0), ("templateConfigMapName", [])),
    ],
    ids=repr,
)
def test_a_wrong_value_is_named_with_its_field_and_entry(field: str, value: Any) -> None:
    parsed = of(VALID, VALID | {field: value})
    assert len(parsed.entries) == 1
    (problem,) = parsed.problems
    assert problem.startswith(f'entry 2 of 2: field "{field}" ')


@pytest.mark.parametrize("field", ["secretName", "container"])
def test_a_missing_field_is_named(field: str) -> None:
    absent = {key: value for key, value in VALID.items() if key != field}
    parsed = of(absent, VALID | {field: None})
    assert parsed.entries == ()
    wanted = [f'entry {n} of 2: field "{field}" is missing; add it' for n in (1, 2)]
    assert list(parsed.problems) == wanted


def test_a_misspelt_required_field_is_recognised() -> None:
    parsed = of({"secretNames": "hello-token", "container": "main", "owner": 0})
    (problem,) = parsed.problems
    assert '"secretName" is missing' in problem
    assert '"secretNames"' in problem


@pytest.mark.parametrize("element", ["hello-token", None, []])
def test_an_element_that_is_no_object_is_a_problem(element: Any) -> None:
    (problem,) = of(element).problems
    assert problem.startswith("entry 1 of 1 is not an object")


def test_bad_json_is_located_and_never_echoed() -> None:
    (problem,) = parse('[\n  {"secretName": "eyJsecret" "container": 1}\n]').problems
    assert "line 2 column " in problem
    assert "eyJsecret" not in problem


def test_values_that_fail_are_all_told_and_never_echoed() -> None:
    parsed = of(dict.fromkeys([*VALID, "templateConfigMapName"], "eyJ.NEEDLE"))
    assert len(parsed.problems) == 4
    assert "NEEDLE" not in repr(parsed)


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "7", "", '[{"owner": NaN}]', "[-Infinity]", "[" + "9" * 5000 + "]"),
        *("[" * 200_000, "\ufeff[]", "[{},]"),
    ],
    ids=lambda text: repr(text[:16]),
)
def test_what_is_no_array_in_json_is_one_problem(text: str) -> None:
    parsed = parse(text)
    assert parsed.entries == ()
    assert len(parsed.problems) == 1


@pytest.mark.parametrize(
    ("fields", "owner", "template"),
    [
        ('"secretName": "s", "owner": null, "templateConfigMapName": null', 0, None),
        ('"SecretName": "s", "OWNER": 7, "templateconfigmapname": "t"', 7, "t"),
        # The other small s of Unicode.
        ('"\\u017fecretName": "s", "templateConfigMapName": ""', 0, None),
    ],
    ids=["null", "other case", "empty"],
)
def test_an_entry_is_read_as_a_go_decoder_reads_it(
    fields: str, owner: int, template: str | None
) -> None:
    parsed = parse(f'[{{{fields}, "CONTAINER": "c"}}]')
    (entry,) = parsed.entries
    assert (entry.secret_name, entry.container) == ("s", "c")
    assert (entry.owner, entry.template_config_map) == (owner, template)
    assert parsed.problems == parsed.warnings == ()


@pytest.mark.parametrize(("first", "last"), [("owner", "OWNER"), ("Owner", "owner")])
def test_of_a_field_given_twice_the_last_counts_with_a_warning(first: str, last: str) -> None:
    parsed = parse(f'[{{"{first}": 1, "secretName": "a", "container": "c", "{last}": 2}}]')
    (entry,) = parsed.entries
    assert entry.owner == 2
    (warning,) = parsed.warnings
    assert 'more than once: "owner"' in warning


def test_an_unknown_field_is_a_warning_with_the_nearest_known_one() -> None:
    parsed = of(VALID | {"templateConfigMap": "x", "zzz": "x"})
    assert len(parsed.entries) == 1
    near, far = parsed.warnings
    assert '"templateConfigMap" is ignored; did you mean "templateConfigMapName"?' in near
    assert far.endswith('"zzz" is ignored')


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


def test_the_volume_depends_on_secret_owner_and_template_but_not_on_the_container() -> None:
    changes: list[dict[str, Any]] = [{"secretName": "other"}, {"owner": 1}]
    changes += [{"templateConfigMapName": "eos"}, {}, {"container": "side"}]
    names = [entry.volume["name"] for entry in of(*[VALID | each for each in changes]).entries]
    assert len(set(names)) == 4
    assert names[-1] == names[-2]


def test_the_volume_name_never_changes_between_releases() -> None:
    """Idempotence across webhook versions hangs on it, so the value is written out."""
    (entry,) = of(VALID).entries
    assert entry.volume["name"] == "oauth2-50d83a19b6"
