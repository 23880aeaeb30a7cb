import argparse
from pathlib import Path

import pytest

from csidriver.kubectl.login.issuer_choice import Wanted
from csidriver.kubectl.login.login_flags import LoginFlags, add_login_parser
from csidriver.kubectl.login.login_flow import Flow
from csidriver.kubectl.login.loopback import DEFAULT_REDIRECT


def parse(*words: str) -> LoginFlags:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver-namespace", default="oauth2-csi")
    add_login_parser(parser.add_subparsers(required=True))
    return LoginFlags.parse(parser.parse_args(["login", *words]))


def test_each_flag_has_its_field() -> None:
    usual = parse("hello")
    assert (usual.flow, usual.wanted, usual.wait) == (None, Wanted(), 60.0)
    assert (usual.redirect_url, usual.prints) == (DEFAULT_REDIRECT, False)
    words = ["--issuer=cern", "--issuer-url=https://as", "--client-id=app", "--scope=a b"]
    words += ["--client-secret-file=/s", "--ca-file=/ca", "--wait=5", "--print-to=/y", "--device"]
    flags = parse("hello", *words)
    assert flags.wanted == Wanted("cern", "https://as", "app", "/s")
    assert (flags.scope, flags.ca_file, flags.wait) == ("a b", "/ca", 5.0)
    assert (flags.prints, flags.print_to, flags.flow) == (True, Path("/y"), Flow.DEVICE)
    assert (parse("hello", "--web").flow, parse("hello", "--print").prints) == (Flow.BROWSER, True)
    assert parse("hello", "--no-browser").flow is Flow.PASTE


@pytest.mark.parametrize(
    "words",
    [
        ["--device", "--web"],
        ["--print", "--dry-run"],
        ["--ask-client-secret", "--client-secret-file=/s"],
        ["--client-secret=planted"],
    ],
)
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse("hello", *words)
