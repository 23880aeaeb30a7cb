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
    words += ["--client-secret-file=/s", "--ca-file=/ca", "--redirect-url=http://localhost"]
    words += ["--wait=5", "--print-to=/y"]
    flags = parse("hello", *words)
    assert flags.wanted == Wanted("cern", "https://as", "app", "/s")
    assert (flags.scope, flags.ca_file, flags.wait) == ("a b", "/ca", 5.0)
    assert flags.redirect_url == "http://localhost"
    assert flags.prints
    assert flags.print_to == Path("/y")
    assert parse("hello", "--ask-client-secret").ask_client_secret
    assert parse("hello", "--print").prints


@pytest.mark.parametrize(
    ("word", "flow"),
    [("--device", Flow.DEVICE), ("--web", Flow.BROWSER), ("--no-browser", Flow.PASTE)],
)
def test_a_flow_can_be_demanded(word: str, flow: Flow) -> None:
    assert parse("hello", word).flow is flow


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["hello", "--device", "--web"],
        ["hello", "--print", "--dry-run"],
        ["hello", "--ask-client-secret", "--client-secret-file=/s"],
        ["hello", "--client-secret=planted"],
        ["hello", "--wait=-1"],
    ],
)
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
