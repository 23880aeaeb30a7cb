from tests.page_commands import differs


def test_an_output_may_differ_in_numbers_and_dots_only() -> None:
    shown, good = "NAME  STATUS\nhello Ready 5s ...\n", "hello   Ready  7m12s  now\n"
    assert differs(shown, f"NAME  STATUS\n{good}") == ""
    for output in ("NAME  STATUS\nhello   Pending  7m12s  now\n", f"{good}NAME  STATUS\n"):
        assert differs(shown, output) == "hello Ready 5s ..."
