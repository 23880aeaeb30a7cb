import io

import pytest

from csidriver.kubectl.errors import OutputFailed
from csidriver.kubectl.terminal import Terminal, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand ü 票", "two\nlines\tand ü 票"),
        ("\x1b]0;title\x07\r", "\\x1b]0;title\\x07\\r"),
        ("\u202eright to left", "\\u202eright to left"),
    ],
)
def test_texts_of_others_cannot_control_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_results_and_reports_go_their_own_ways() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.print("result\x1b")
    terminal.report("report\x1b")
    terminal.draw("\x1b[7m  \x1b[0m")
    assert out.getvalue() == "result\\x1b\n"
    assert err.getvalue() == "report\\x1b\n\x1b[7m  \x1b[0m\n"


def test_a_question_is_answered_by_a_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("an answer \n"))
    terminal = Terminal(io.StringIO(), err)
    assert terminal.ask("question? ") == "an answer"
    assert err.getvalue() == "question? "
    for stdin in (None, io.StringIO(), io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(EOFError):
            terminal.ask("question? ")


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Terminal(out, io.StringIO()).print("p\u00e4ss \u7968")
    assert out.buffer.getvalue() == b"p\\xe4ss \\u7968\n"


def test_a_result_that_nobody_can_read_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OutputFailed, match="standard output is closed"):
        Terminal(None, io.StringIO()).print("result")
