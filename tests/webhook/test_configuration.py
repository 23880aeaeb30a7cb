import argparse
from pathlib import Path

import pytest

from csidriver.errors import InvalidSettings
from csidriver.webhook.configuration import WebhookSettings, add_webhook, webhook


def read(*arguments: str) -> WebhookSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver-namespace", default="oauth2-csi")
    add_webhook(parser)
    return webhook(parser.parse_args(arguments))


def test_defaults_are_those_of_the_manifests() -> None:
    assert read() == WebhookSettings(
        listen=("0.0.0.0", 9443),
        names=frozenset({"oauth2-csi-webhook.oauth2-csi.svc"}),
        configuration="oauth2-csi-webhook",
        files=None,
    )


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("hook", "hook.elsewhere.svc"),
        ("hook.example.org", "hook.example.org"),
        ("10.0.0.7", "10.0.0.7"),
        ("fd00::7", "fd00::7"),
    ],
)
def test_the_certificate_is_for_a_service_a_host_or_an_address(given: str, name: str) -> None:
    settings = read("--driver-namespace", "elsewhere", "--webhook-service", given)
    assert settings.names == {name}


def test_several_ways_lead_here() -> None:
    assert len(read("--webhook-service", "a", "--webhook-service", "10.0.0.7").names) == 2


def test_files_come_in_pairs() -> None:
    files = read("--tls-cert-file", "/c", "--tls-key-file", "/k").files
    assert files is not None
    assert (files.certificate, files.key) == (Path("/c"), Path("/k"))
    for half in (["--tls-cert-file", "/c"], ["--tls-key-file", "/k"]):
        with pytest.raises(InvalidSettings):
            read(*half)
