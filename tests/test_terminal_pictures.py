"""The pictures of outputs are those of the golden files."""

import html
import re

import pytest

from tools.terminal_pictures import GOLDEN, OUTPUTS, PICTURES, WIDTH, draw


@pytest.mark.parametrize(("name", "command", "output"), OUTPUTS)
def test_a_picture_is_that_of_its_golden_file(name: str, command: str, output: str) -> None:
    screen = (GOLDEN / output).read_text(encoding="utf-8")
    picture = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert picture == draw(screen, command, name, width=WIDTH), "run `make picture`"


def test_a_picture_fetches_nothing_and_has_the_text() -> None:
    picture = draw("a  token\n", "kubectl it", "id", width=40)
    assert "@font-face" not in picture
    assert "url(http" not in picture
    texts = [html.unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", picture)]
    shown = "".join(texts).replace("\xa0", " ")
    assert "$ kubectl it" in shown
    assert "a  token" in shown
