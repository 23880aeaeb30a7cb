import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csidriver.errors import DriverError
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.main import COMMANDS, build_parser, global_options, load_commands, main
from csidriver.kubectl.terminal import Terminal
from tests.kubectl.printed import Capture, secret
from tests.kubectl.stand_in import StandIn


class Example:
    """A subcommand that ends as it is told."""

    def __init__(
        self, outcome: int | BaseException = 0, act: Callable[[Kubectl], None] = lambda _: None
    ) -> None:
        self._outcome, self._act = outcome, act

    def add(self, subparsers: Any) -> None:
        subparsers.add_parser("example", help="an example").set_defaults(run=self.run)

    def run(self, args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:  # noqa: ARG002
        self._act(kubectl)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


def options(*words: str) -> list[str]:
    return global_options(build_parser([Example()]).parse_args(words))


def test_options_of_kubectl_stand_before_or_after_the_subcommand_and_are_passed_on() -> None:
    assert options("example") == options("example", "-n", "", "--context=") == []
    found = options("-n", "team-a", "example", "--context", "c")
    assert found == ["--namespace=team-a", "--context=c"]
    words = ["--namespace=n", "--context=c", "--kubeconfig=k", "--cluster=d", "--user=u"]
    words += ["--as=alice", "--request-timeout=5s", "--as-group=one", "--as-group=two"]
    assert options("example", *words) == words


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (0, 0, ""),
        (3, 3, ""),
        (DriverError("a fault\n  error: forged\n"), 1, "error: a fault error: forged\n"),
        (KeyboardInterrupt(), 130, ""),
        (EOFError(), 1, "error: a question needs an answer, and standard input has none\n"),
    ],
)
def test_the_exit_status_says_how_it_ended(
    capsys: Capture, outcome: int | BaseException, status: int, message: str
) -> None:
    assert main(["example"], [Example(outcome)]) == status
    assert capsys.readouterr().err == message


def test_only_subcommands_that_are_named_are_imported() -> None:
    code = (
        "import sys; from csidriver.kubectl.main import main; main(['__complete', 'status', '-'])"
    )
    code += "; sys.exit('csidriver.kubectl.login' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)  # noqa: S603
    # Names that are subcommands, too.
    words = ["-n", "status", "describe", "refresh"]
    args = build_parser(load_commands(words)).parse_args(words)
    assert (args.namespace, args.name) == ("status", "refresh")
    assert len(load_commands(["typo"])) == len(COMMANDS)


def test_wrong_usage_fails_as_with_kubectl(capsys: Capture) -> None:
    for word, error in (("--nonsense", "error: "), ("\udcff", "error: an argument is not a text")):
        with pytest.raises(SystemExit) as caught:
            main(["example", word], [Example()])
        assert caught.value.code == 1
        printed = capsys.readouterr().err
        assert printed.startswith(error)
        assert printed.endswith("See 'kubectl oauth2-csi --help' for usage.\n")


def test_the_help_names_all_subcommands_and_that_of_one_is_about_that(capsys: Capture) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    assert all(f"\n    {name} " in printed.out for name in COMMANDS)
    assert printed.err == ""
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    shown = capsys.readouterr().out
    assert "--namespace" in shown
    assert "--as-group" not in shown


def test_no_watch_outlives_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho first\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(program))
    threads: list[threading.Thread] = []

    def watch(kubectl: Kubectl) -> None:
        lines = kubectl.watch_text("pods")
        assert next(lines) == "first"
        threads.append(threading.Thread(target=list, args=(lines,), daemon=True))
        threads[0].start()

    assert main(["example"], [Example(act=watch)]) == 0
    threads[0].join(20)
    assert not threads[0].is_alive()


def test_a_reader_that_goes_away_is_no_failure_to_explain(stand_in: StandIn) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    stand_in.answer("pods")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "csidriver.kubectl", "status"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)  # noqa: S603
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_output_that_gets_lost_ends_in_no_traceback(stand_in: StandIn) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    command = [sys.executable, "-m", "csidriver.kubectl", "__complete", "status", ""]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    assert done.stderr.startswith("error: standard output ")
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)


def test_an_unexpected_exception_names_its_place_and_quotes_nothing(
    capsys: Capture,
) -> None:
    assert main(["example"], [Example(ValueError("planted"))]) == 1
    error = capsys.readouterr().err
    assert "ValueError at " in error
    assert f"{Path(__file__).name}:" in error
    assert "planted" not in error
    assert error.count("\n") == 1
