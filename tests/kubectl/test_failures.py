"""Messages of kubectl, and what of them is shown."""

import base64

import pytest

from csidriver.kubectl.errors import Forbidden, KubectlFailed, NotFound
from csidriver.kubectl.failures import to_error

NEEDLE = "needle-4711-refresh-token"


def test_the_servers_message_is_kept_with_a_cure() -> None:
    text = 'Error from server (Forbidden): secrets is forbidden: User "u" cannot list\n'
    error = to_error(text)
    assert isinstance(error, Forbidden)
    assert str(error).startswith('secrets is forbidden: User "u" cannot list; ask for this right')


def test_warnings_and_logs_are_not_the_reason() -> None:
    text = 'Warning: v1 is old\nE1128 21:10:06.1 1 memcache.go:265] "x"\nerror: no route to host\n'
    assert str(to_error(text)) == "no route to host"


def test_an_error_on_creation_is_recognised() -> None:
    text = 'Error from server (NotFound): error when creating "STDIN": namespaces "x" not found'
    assert isinstance(to_error(text), NotFound)


def test_silence_is_a_failure() -> None:
    assert str(to_error("")) == "kubectl failed without a message"


def test_a_long_message_is_cut() -> None:
    assert len(str(to_error("error: " + "x" * 5000))) < 700


@pytest.mark.parametrize("section", ["data", "stringData"])
@pytest.mark.parametrize("quoted", [NEEDLE, NEEDLE[3:14], f'\\"{NEEDLE}\\"'])
def test_a_message_that_quotes_data_is_withheld(section: str, quoted: str) -> None:
    value = base64.b64encode(NEEDLE.encode()).decode() if section == "data" else NEEDLE
    manifest = {section: {"oauth": value}, "kind": "Secret"}
    error = to_error(f"Error from server (Invalid): bad value {quoted}", manifest)
    assert str(error) == "refused (Invalid); its message is not shown: it quotes data"
    assert isinstance(error, KubectlFailed)


def test_a_message_that_quotes_an_encoded_value_is_withheld() -> None:
    value = base64.b64encode(NEEDLE.encode()).decode()
    assert value not in str(to_error(f"error: {value}", {"data": {"oauth": value}}))


def test_a_message_beside_data_is_kept() -> None:
    manifest = {"stringData": {"oauth": NEEDLE}, "data": None}
    assert str(to_error("error: no route to host", manifest)) == "no route to host"
