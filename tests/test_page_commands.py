import subprocess
from pathlib import Path

import pytest

from tests.page_commands import Command, Reader, commands, differs, parse
from tests.refresher.bench import until

PAGE = """\
# A page

```sh
one --flag \\
  value
two      # and why
```

The output:

```text
Ready   5s
```

## A section

Text.

```sh
three
```

```yaml
a: b
```

## Another

```text
of none
```

    not a command
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


def test_the_pages_have_commands() -> None:
    assert len(commands("docs/tutorial.md")) > 15


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


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "kubeconfig")


def test_an_export_lasts_and_a_failure_is_one(reader: Reader) -> None:
    reader.run("export GREETING=hello")
    assert reader.run('echo "$GREETING" "$KUBECONFIG"').startswith("hello /")
    with pytest.raises(AssertionError, match="no such thing"):
        reader.run("echo no such thing; false")


def test_a_command_without_an_end_is_interrupted_when_it_has_said_enough(reader: Reader) -> None:
    line = "trap 'echo bye; exit 130' INT; while :; do echo tick; sleep 0.1; done"
    assert reader.run_until(line, lambda output: output.count("tick") > 2).count("tick") > 2
    with pytest.raises(AssertionError, match="tock"):
        reader.run_until("echo tock", lambda output: "tick" in output)


def test_a_question_is_answered_while_the_command_waits(reader: Reader, tmp_path: Path) -> None:
    def answer(output: str) -> bool:
        if "ready" not in output:
            return False
        (tmp_path / "answer").touch()
        return True

    line = f"echo ready; until test -e {tmp_path}/answer; do sleep 0.1; done; echo thanks"
    assert reader.run_answering(line, answer) == "ready\nthanks\n"


def test_what_runs_beside_ends_with_its_context(reader: Reader) -> None:
    with reader.started("sleep 600 & sleep 600") as process:
        group = process.pid
    until(lambda: not is_alive(group))


def is_alive(group: int) -> bool:
    """Return True if a process of a group has not ended; a zombie has."""
    states = ["/bin/ps", "-o", "stat=", "-g", str(group)]
    done = subprocess.run(states, capture_output=True, text=True, check=False)  # noqa: S603
    return any(not line.strip().startswith("Z") for line in done.stdout.splitlines())
