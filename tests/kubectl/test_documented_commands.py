"""The page of the command line leaves nothing out, and the commands of all pages parse."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from csidriver.kubectl.login.login_reply import REFUSALS
from csidriver.kubectl.main import build_parser, load_commands
from tests.page_commands import parse

ROOT = Path(__file__).parents[2]
PARSER = build_parser(load_commands([]))
PAGE = (ROOT / "docs/kubectl.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"kubectl oauth2-csi ([a-z]+ .+|status)$")


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [
        action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(found.choices)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for flag in parser._option_string_actions if flag.startswith("-")}


def section(name: str) -> str:
    _, found, rest = PAGE.partition(f"\n## {name}\n")
    assert found, f"there is no section {name}"
    return rest.partition("\n## ")[0]


def test_the_overview_has_every_subcommand() -> None:
    rows = set(re.findall(r"^\| \[`(\w+)", PAGE, re.MULTILINE))
    assert subcommands().keys() == rows


@pytest.mark.parametrize("name", subcommands())
def test_every_flag_is_explained(name: str) -> None:
    common = flags(PARSER) | {"-h", "--help"}
    explained = set(re.findall(r"`(-{1,2}[a-zA-Z-]+)", section(name)))
    own = flags(subcommands()[name]) - common
    assert own - explained == set()
    assert {flag for flag in explained if flag.startswith("--")} <= flags(subcommands()[name])


def test_the_options_of_kubectl_are_named() -> None:
    first, *_ = PAGE.split("\n## ")
    named = set(re.findall(r"`(-{1,2}[a-z-]+)", first))
    assert flags(PARSER) - {"-h", "--help", "--version"} <= named


def test_every_answer_that_ends_a_login_is_explained() -> None:
    rows = re.findall(r"^\| (`[a-z_]+`.*?) \|", section("login"), re.MULTILINE)
    assert {error for row in rows for error in re.findall(r"`([a-z_]+)`", row)} == REFUSALS.keys()


def documented() -> list[str]:
    """The commands of `sh` blocks, and those in sentences that have arguments."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    typed = [command.line.partition("#")[0] for text in texts for command in parse(text)]
    spans = [span for text in texts for span in re.findall(r"`([^`\n]+ .+?)`", text)]
    found = (COMMAND.match(line.strip()) for line in [*typed, *spans])
    return sorted({match[1] for match in found if match})


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_parses(line: str) -> None:
    assert PARSER.parse_args(shlex.split(line)).run
