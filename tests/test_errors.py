"""The tree of errors and their texts."""

from csidriver import errors


def test_invalid_input_names_its_subject_and_all_problems() -> None:
    error = errors.InvalidRequest("volume v1", (problem for problem in ("no owner", "no secret")))
    assert str(error) == "volume v1: no owner; no secret"
    assert error.problems == ("no owner", "no secret")


def test_causes_are_found_however_they_are_linked() -> None:
    innermost, by_argument = OSError("innermost"), OSError("by argument")
    by_argument.__context__ = innermost
    inner = ValueError("pool", by_argument)
    error = RuntimeError("outermost")
    error.__cause__ = inner
    assert list(errors.chain(error)) == [error, inner, by_argument, innermost]
