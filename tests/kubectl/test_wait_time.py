import argparse

import pytest

from csidriver.kubectl.wait_time import wait_seconds


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("30s", 30.0)])
def test_seconds_are_read(text: str, seconds: float) -> None:
    assert wait_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "86401"])
def test_what_nobody_can_wait_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be seconds, from 0 to 86400"):
        wait_seconds(text)
