"""Shell completion: of kubectl by `kubectl_complete-oauth2_csi`, and of the file itself."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from csidriver.core.names import DRIVER_NAMESPACE
from csidriver.errors import DriverError
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.published_issuers import read_published_issuers
from csidriver.kubectl.terminal import Terminal
from csidriver.kubectl.tokens.token import read_tokens

COMPLETE = "__complete"
# kubectl's directive after the candidates: no names of files.
_NO_FILES = ":4"
# Subcommands whose argument is the name of a Secret.
_OF_SECRETS = frozenset(("status", "describe", "refresh", "login"))
_OF_ISSUERS = "doctor"
_SCRIPTS = {
    # macOS has a bash that has no mapfile.
    "bash": """\
_kubectl_oauth2_csi() {
    local IFS=$'\\n'
    COMPREPLY=($(
        "${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | sed '$d'
    ))
}
complete -F _kubectl_oauth2_csi kubectl-oauth2_csi
""",
    "zsh": """\
#compdef kubectl-oauth2_csi
_kubectl_oauth2_csi() {
    local -a found
    found=(${(f)"$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    compadd -- ${found[1,-2]}
}
compdef _kubectl_oauth2_csi kubectl-oauth2_csi
""",
    "fish": """\
function __kubectl_oauth2_csi
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null | string match -v ':*'
end
complete -c kubectl-oauth2_csi -f -a '(__kubectl_oauth2_csi)'
""",
}


def add(subparsers: Any) -> None:
    about = "print a script that completes words in a shell"
    parser = subparsers.add_parser("completion", help=about, description=about)
    parser.add_argument("shell", choices=sorted(_SCRIPTS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:  # noqa: ARG001 - as all
    terminal.print(_SCRIPTS[args.shell].rstrip())
    return 0


@dataclass(slots=True)
class _Line:
    """A command line as far as it is typed: its parser, its subcommand, its options of kubectl."""

    parser: argparse.ArgumentParser
    subcommand: str = ""
    options: list[str] = field(default_factory=list)
    pending: argparse.Action | None = None

    def take(self, word: str) -> None:
        """Take over a finished word."""
        if self.pending is not None:
            self.options.append(f"{max(self.pending.option_strings, key=len)}={word}")
            self.pending = None
        elif word.startswith("-"):
            action = self._options().get(word)
            if action is not None and action.nargs is None:
                self.pending = action
            elif "=" in word:
                self.options.append(word)
        elif not self.subcommand:
            self.subcommand = word
            self.parser = self._subparsers().get(word, self.parser)

    def candidates(self, word: str) -> Iterable[str]:
        """Return words that may stand in the place of the one that is being typed."""
        if self.pending is not None:
            if "--namespace" in self.pending.option_strings:
                return self._kubectl_names("namespaces")
            return self.pending.choices or ()
        if word.startswith("-"):
            return [option for option in self._options() if option.startswith("--")]
        if not self.subcommand:
            return self._subparsers()
        return self._arguments()

    def _arguments(self) -> Iterable[str]:
        """Return the arguments that the subcommand may have."""
        if self.subcommand in _OF_SECRETS:
            tokens = read_tokens(self._kubectl())
            is_login = self.subcommand == "login"
            return [token.ref.name for token in tokens if token.needs_login or not is_login]
        if self.subcommand == _OF_ISSUERS:
            return read_published_issuers(self._kubectl(), self._driver_namespace()).by_name
        return next((a.choices for a in self._actions() if not a.option_strings and a.choices), ())

    def _actions(self) -> Sequence[argparse.Action]:
        return self.parser._actions  # noqa: SLF001 - argparse offers no other way

    def _options(self) -> Mapping[str, argparse.Action]:
        return {option: action for action in self._actions() for option in action.option_strings}

    def _subparsers(self) -> Mapping[str, argparse.ArgumentParser]:
        found = (a.choices for a in self._actions() if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
        return next(found, {})

    def _kubectl(self) -> Kubectl:
        chosen = ("--namespace=", "--context=", "--kubeconfig=", "--cluster=", "--user=")
        return Kubectl([option for option in self.options if option.startswith(chosen)])

    def _driver_namespace(self) -> str:
        flag = "--driver-namespace="
        chosen = [option.removeprefix(flag) for option in self.options if option.startswith(flag)]
        return chosen[-1] if chosen else DRIVER_NAMESPACE

    def _kubectl_names(self, resource: str) -> list[str]:
        lines = self._kubectl().get_text(resource, "--output=name").splitlines()
        return [line.partition("/")[2] for line in lines]


def complete(parser: argparse.ArgumentParser, words: Sequence[str], terminal: Terminal) -> int:
    """Print candidates for the last word, in the form that kubectl expects of a plugin."""
    *typed, last = words or [""]
    line = _Line(parser)
    for word in typed:
        line.take(word)
    try:
        for candidate in line.candidates(last):
            if candidate.startswith(last):
                terminal.print(candidate)
    except DriverError:
        pass  # a message would stand in the middle of the command line
    terminal.print(_NO_FILES)
    return 0
