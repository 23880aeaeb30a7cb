from collections.abc import Callable

import pytest

from csidriver import flag_values


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (flag_values.address, ":9808", ("::", 9808)),
        (flag_values.address, "localhost:0", ("localhost", 0)),
        (flag_values.address, "[::1]:65535", ("::1", 65535)),
        (flag_values.seconds, "0.25", 0.25),
        (flag_values.size, "64Mi", 64 << 20),
        (flag_values.size, "2Gi", 2 << 30),
    ],
)
def test_values_are_read(convert: Callable[[str], object], text: str, value: object) -> None:
    assert convert(text) == value
