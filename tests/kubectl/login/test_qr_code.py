import pytest

from csidriver.kubectl.login.qr_code import draw_qr_code

pytest.importorskip("segno")
URL = "https://as.example/device?user_code=ABCD-EFGH"


def test_the_code_is_drawn_with_half_blocks() -> None:
    lines = draw_qr_code(URL, 80, "utf-8").split("\n")
    plain = [line.removeprefix("\x1b[97;40m").removesuffix("\x1b[0m") for line in lines]
    assert {len(line) for line in plain} == {33}
    assert len(plain) == 17
    assert set("".join(plain)) <= set("\u2588\u2580\u2584 ")
    assert all(line.startswith("\x1b[97;40m") for line in lines)
    # The quiet zone, which is light, and the edge of the finder pattern, which is dark.
    assert plain[0] == "\u2588" * 33
    assert plain[1].startswith("\u2588\u2588 \u2584\u2584\u2584\u2584\u2584 \u2588")


@pytest.mark.parametrize(("columns", "encoding"), [(32, "utf-8"), (80, "ascii"), (80, "no-such")])
def test_a_terminal_that_cannot_show_it_gets_none(columns: int, encoding: str) -> None:
    assert draw_qr_code(URL, columns, encoding) == ""
