from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from csidriver.core.volume.attributes import KEYS, VolumeAttributes
from csidriver.core.volume.template import DEFAULT
from csidriver.errors import InvalidRequest

VALID = {"secretName": "hello-token", "owner": "1000"}
ABSENT = object()


def parse(change: dict[str, Any], fs_group: str = "") -> VolumeAttributes:
    given_keys = {k: v for k, v in (VALID | change).items() if v is not ABSENT}
    return VolumeAttributes.parse(given_keys, fs_group)


def problems(change: dict[str, Any], fs_group: str = "") -> tuple[str, ...]:
    with pytest.raises(InvalidRequest) as caught:
        parse(change, fs_group)
    return caught.value.problems


def test_defaults() -> None:
    assert parse({}) == VolumeAttributes(
        secret_name="hello-token",
        file_name="token",
        owner=1000,
        group=1000,
        mode=0o400,
        template=DEFAULT,
        template_config_map="",
        min_validity=None,
    )


@pytest.mark.parametrize(
    ("change", "fs_group", "owner", "group", "mode"),
    [
        pytest.param({}, "2000", 1000, 2000, 0o440, id="fsGroup"),
        pytest.param({"owner": ABSENT}, "2000", 0, 2000, 0o440, id="fsGroup without owner"),
        pytest.param({"mode": "0400"}, "2000", 1000, 2000, 0o400, id="mode beats fsGroup"),
        pytest.param({"group": "50"}, "2000", 1000, 50, 0o400, id="group beats fsGroup"),
    ],
)
def test_owner_group_and_mode(
    change: dict[str, Any], fs_group: str, owner: int, group: int, mode: int
) -> None:
    attributes = parse(change, fs_group)
    assert (attributes.owner, attributes.group, attributes.mode) == (owner, group, mode)


@pytest.mark.parametrize(
    ("change", "field", "wanted"),
    [
        pytest.param({"owner": str(2**32 - 2)}, "owner", 2**32 - 2, id="last uid"),
        pytest.param({"fileName": "a" * 255}, "file_name", "a" * 255, id="longest file name"),
        pytest.param({"minValidity": "600"}, "min_validity", 600.0, id="validity"),
    ],
)
def test_values_at_the_edge_are_taken(change: dict[str, Any], field: str, wanted: Any) -> None:
    assert getattr(parse(change), field) == wanted


@pytest.mark.parametrize(
    ("change", "key"),
    [
        pytest.param({"secretName": ABSENT}, "secretName", id="secretName missing"),
        pytest.param({"owner": ABSENT}, "owner", id="owner missing"),
        pytest.param({"owner": "-1"}, "owner", id="owner negative"),
        pytest.param({"owner": str(2**32 - 1)}, "owner", id="owner means no change"),
        pytest.param({"mode": "0600"}, "mode", id="mode writes"),
        pytest.param({"mode": "0040"}, "mode", id="mode without owner"),
        pytest.param({"mode": "0400\n"}, "mode", id="mode before a newline"),
        *(({"fileName": name}, "fileName") for name in (".", "..")),
        pytest.param({"fileName": "a/b"}, "fileName", id="fileName path"),
        pytest.param({"fileName": "a" * 256}, "fileName", id="fileName too long"),
        pytest.param({"minValidity": "-1"}, "minValidity", id="minValidity negative"),
        pytest.param({"template": "$(NOPE)"}, "template", id="template name"),
        ({"template": "x", "templateConfigMapName": "y"}, "template"),
    ],
)
def test_one_fault_is_one_problem_that_begins_with_the_key(
    change: dict[str, Any], key: str
) -> None:
    (problem,) = problems(change)
    assert problem.startswith(f"{key} ")
    assert len(problem) < 250


@pytest.mark.parametrize("key", [key for key in KEYS if key != "template"])
def test_a_value_that_is_not_valid_is_not_repeated(key: str) -> None:
    """A token in the wrong attribute would be published."""
    (problem,) = problems({key: "gho_16C7e42F/292c6912"})
    assert "16C7e42F" not in problem


def test_an_unknown_key_names_the_nearest_known_or_all() -> None:
    (problem,) = problems({"secretname": "x"})
    assert "did you mean secretName?" in problem
    (problem,) = problems({"xyzzy": "x"})
    assert all(key in problem for key in KEYS)
    assert sum(map(len, problems({f"key-{n}": "" for n in range(10_000)}))) < 4096


@example({"\U0001e2fa" * 2000: ""})
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=2000), st.text(max_size=2000)))
def test_the_error_stays_short_and_printable(context: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        VolumeAttributes.parse({"owner": "x" * 2000} | context | {"secretName": "É\n"}, "")
    # An escape such as \U0001e2fa takes ten characters for one.
    assert all(len(problem) < 900 for problem in caught.value.problems)
    assert len(str(caught.value)) < 16 * 900
    assert str(caught.value).isprintable()
