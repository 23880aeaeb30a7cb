import pytest

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

## Another

```text
of none
```
"""


def test_commands_are_the_lines_of_sh_blocks_and_the_last_has_the_output() -> None:
    assert parse(PAGE) == [
        Command("one --flag    value"),
        Command("two      # and why", "Ready   5s\n"),
        Command("three"),
    ]


def test_a_section_has_its_own_commands() -> None:
    assert parse(PAGE, "A section") == [Command("three")]
    with pytest.raises(AssertionError):
        parse(PAGE, "A chapter")


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ("NAME  STATUS\nhello   Ready  7m12s  now\n", ""),
        ("NAME  STATUS\nhello   Pending  7m12s  now\n", "hello Ready 5s ..."),
        ("hello   Ready  7m12s  now\nNAME  STATUS\n", "hello Ready 5s ..."),
        ("", "NAME  STATUS"),
    ],
)
def test_an_output_may_differ_in_numbers_and_dots_only(output: str, missing: str) -> None:
    assert differs("NAME  STATUS\nhello Ready 5s ...\n", output) == missing
