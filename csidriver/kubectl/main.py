"""The command `kubectl oauth2-csi` and its subcommands."""

import argparse
import os
import sys
from collections.abc import Container, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

from csidriver import __version__
from csidriver.core import names
from csidriver.errors import DriverError
from csidriver.kubectl import completion
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import INTERRUPTED, OutputFailed
from csidriver.kubectl.terminal import Terminal

PROGRAM = "kubectl oauth2-csi"
# As if SIGPIPE had ended the process.
BROKEN_PIPE = 141


class Command(Protocol):
    """A module of a subcommand."""

    def add(self, subparsers: Any) -> None:
        """Add a parser and set its default `run`."""

    def run(self, args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
        """Return the exit status."""


# Subcommands and their modules. Only what a command line names is imported: a zip application
# compiles its modules each time, and `login` brings libraries.
COMMANDS: Mapping[str, str] = {
    "login": "csidriver.kubectl.login.command",
    "status": "csidriver.kubectl.status",
    "describe": "csidriver.kubectl.describe",
    "refresh": "csidriver.kubectl.refresh",
    "doctor": "csidriver.kubectl.doctor.doctor_command",
    "completion": "csidriver.kubectl.completion",
}
# Options of kubectl that it gets as they are, and their metavariables.
_OPTIONS = {
    "--context": "CONTEXT",
    "--kubeconfig": "FILE",
    "--cluster": "CLUSTER",
    "--user": "USER",
    "--as": "USER",
    "--request-timeout": "DURATION",
}


_MORE_OPTIONS = f"Options of kubectl, such as --context, are in '{PROGRAM} --help'."


class Parser(argparse.ArgumentParser):
    """A parser that fails as kubectl does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}\nSee '{self.prog} --help' for usage.\n")


class CommandParser(Parser):
    """The parser of a subcommand, which has kubectl's options, too; its help names one of them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"epilog": _MORE_OPTIONS, **settings})
        # An option before the name of the subcommand must not be undone by a default.
        _add_options(self, default=argparse.SUPPRESS, about=argparse.SUPPRESS)


def main(arguments: Sequence[str] | None = None, commands: Sequence[Command] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    terminal = Terminal()
    try:
        return _run(words, commands, terminal)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OutputFailed as error:
        _discard_output()
        reason = str(error)
    except DriverError as error:
        reason = _as_line(error)
    except EOFError:
        reason = "a question needs an answer, and standard input has none"
    except Exception as error:  # noqa: BLE001 - the text of an exception may quote a Secret
        reason = _unexpected(error)
    terminal.report(f"error: {reason}")
    return 1


def _run(words: list[str], commands: Sequence[Command] | None, terminal: Terminal) -> int:
    parser = build_parser(load_commands(words) if commands is None else commands)
    if words[:1] == [completion.COMPLETE]:
        return completion.complete(parser, words[1:], terminal)
    if not all(map(_is_text, words)):
        parser.error("an argument is not a text in the encoding of this terminal")
    args = parser.parse_args(words)
    kubectl = Kubectl(global_options(args))
    try:
        status: int = args.run(args, kubectl, terminal)
    finally:
        kubectl.close()
    return status


def _unexpected(error: Exception) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = "" if last is None else f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
    return (
        f"kubectl answered with something unexpected, or this command has a fault; report "
        f"{type(error).__name__}{place}"
    )


def _discard_output() -> None:
    # The interpreter flushes stdout once more when it ends.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _as_line(error: DriverError) -> str:
    # A message of others must not look as if it were several of ours.
    return " ".join(line.strip() for line in str(error).splitlines())


def _is_text(word: str) -> bool:
    # Python decodes other bytes as lone surrogates, which no request can have.
    return not any("\ud800" <= char <= "\udfff" for char in word)


def load_commands(words: Container[str] = ()) -> list[Command]:
    """Return the subcommands that are among these words, or all if there is none."""
    named = [name for name in COMMANDS if name in words]
    return [cast("Command", import_module(COMMANDS[name])) for name in named or COMMANDS]


def build_parser(commands: Sequence[Command]) -> Parser:
    parser = Parser(prog=PROGRAM, description="Log in, and see OAuth2 tokens that pods mount.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=_print_help)
    _add_options(parser, default=None, about=None)
    subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=CommandParser)
    for command in commands:
        command.add(subparsers)
    return parser


def global_options(args: argparse.Namespace) -> list[str]:
    """Return the options for kubectl, each as one word, so that a value cannot be an option.

    An empty one is as good as none, as for kubectl.
    """
    chosen = {"--namespace": args.namespace}
    chosen |= {option: getattr(args, _field(option)) for option in _OPTIONS}
    options = [f"{option}={value}" for option, value in chosen.items() if value]
    return options + [f"--as-group={group}" for group in args.as_group or ()]


def _print_help(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:  # noqa: ARG001 - as all
    terminal.print(build_parser(load_commands()).format_help().rstrip())
    return 0


def _add_options(parser: argparse.ArgumentParser, default: Any, about: str | None) -> None:
    """Add kubectl's options; `about` is the help of all but the namespace."""
    options = parser.add_argument_group("options of kubectl")
    namespace = "by default that of the context"
    options.add_argument("-n", "--namespace", metavar="NAMESPACE", default=default, help=namespace)
    for option, metavar in _OPTIONS.items():
        field = _field(option)
        options.add_argument(option, metavar=metavar, default=default, dest=field, help=about)
    options.add_argument(
        "--as-group", metavar="GROUP", action="append", default=default, help=about
    )
    fallback = names.DRIVER_NAMESPACE if default is None else default
    help_text = about or f"where the driver is installed, by default {names.DRIVER_NAMESPACE}"
    options.add_argument(
        "--driver-namespace", metavar="NAMESPACE", default=fallback, help=help_text
    )


def _field(option: str) -> str:
    # `as` is a keyword.
    return "impersonate" if option == "--as" else option.removeprefix("--").replace("-", "_")
