from tests.page_commands import Command, differs, parse

PAGE = """\
# A page

```sh
one --flag \\
  value
two      # and why
```

```text
Ready   5s
```

## A section

```sh
three
```
"""


def test_commands_are_the_lines_of_sh_blocks_and_the_last_has_the_output() -> None:
    first = [Command("one --flag    value"), Command("two      # and why", "Ready   5s\n")]
    assert parse(PAGE) == [*first, Command("three")]
    assert parse(PAGE, "A section") == [Command("three")]


def test_an_output_may_differ_in_numbers_and_dots_only() -> None:
    shown, good = "NAME  STATUS\nhello Ready 5s ...\n", "hello   Ready  7m12s  now\n"
    assert differs(shown, f"NAME  STATUS\n{good}") == ""
    for output in ("NAME  STATUS\nhello   Pending  7m12s  now\n", f"{good}NAME  STATUS\n"):
        assert differs(shown, output) == "hello Ready 5s ..."
