from typing import Any

import pytest

from csidriver.core.admission.pod_fields import (
    containers_of,
    normalised,
    object_of,
    objects_of,
    text_of,
)
from csidriver.errors import InvalidRequest


@pytest.mark.parametrize("holder", [{}, {"x": None}])
def test_what_is_absent_or_null_is_empty(holder: dict[str, Any]) -> None:
    assert (object_of(holder, "x"), objects_of(holder, "x"), text_of(holder, "x")) == ({}, [], "")


@pytest.mark.parametrize("value", ["text", 0, False, [1], [{}, None]])
def test_another_type_is_an_error(value: Any) -> None:
    for read in (object_of, objects_of, text_of):
        if read is not text_of or value != "text":
            with pytest.raises(InvalidRequest):
                read({"x": value}, "x")


def test_init_containers_are_containers_too() -> None:
    spec = {"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}
    assert containers_of(spec) == [{"name": "c"}, {"name": "i"}]


@pytest.mark.parametrize("path", ["/tmp/a", "tmp/a", "//tmp/a/", "/tmp/./b/../a"])
def test_a_path_is_read_as_the_runtime_reads_it(path: str) -> None:
    assert normalised(path) == "/tmp/a"
