"""What reaches the terminal."""

import io

import pytest

from csidriver.kubectl.terminal import Terminal, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 票", "plain ü 票"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\rover", "\\rover"),
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


def test_a_question_is_answered_by_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("an answer \n"))
    terminal = Terminal(io.StringIO(), err)
    assert terminal.ask("question? ") == "an answer"
    assert err.getvalue() == "question? "
    with pytest.raises(EOFError):
        terminal.ask("another? ")


def test_nobody_answers_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert not Terminal(io.StringIO(), io.StringIO()).is_interactive
