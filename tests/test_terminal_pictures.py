"""The pictures of outputs are those of the golden files."""

import pytest

from tools.terminal_pictures import GOLDEN, OUTPUTS, PICTURES, WIDTH, draw


@pytest.mark.parametrize(("name", "command", "output"), OUTPUTS)
def test_a_picture_is_that_of_its_golden_file(name: str, command: str, output: str) -> None:
    screen = (GOLDEN / output).read_text(encoding="utf-8")
    picture = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert picture == draw(screen, command, name, width=WIDTH), "run `make picture`"
