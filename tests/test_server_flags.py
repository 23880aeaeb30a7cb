import argparse
from pathlib import Path

import pytest

from csidriver import server_flags
from csidriver.config import BrokerSettings, WebhookSettings
from csidriver.errors import InvalidSettings


def webhook(*arguments: str) -> WebhookSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver-namespace", default="oauth2-csi")
    server_flags.add_webhook(parser)
    return server_flags.webhook_settings(parser.parse_args(arguments))


def test_the_certificate_is_for_a_service_a_host_or_an_address() -> None:
    names = ("hook", "hook.example.org", "10.0.0.7", "fd00::7")
    services = [word for name in names for word in ("--webhook-service", name)]
    settings = webhook("--driver-namespace", "elsewhere", *services)
    assert settings.names == {"hook.elsewhere.svc", *names[1:]}


def test_certificate_and_key_files_come_in_pairs() -> None:
    files = webhook("--tls-cert-file", "/c", "--tls-key-file", "/k").files
    assert files is not None
    assert (files.certificate, files.key) == (Path("/c"), Path("/k"))
    for half in (["--tls-cert-file", "/c"], ["--tls-key-file", "/k"]):
        with pytest.raises(InvalidSettings, match="need each other"):
            webhook(*half)


def broker(*arguments: str, store: Path | None = None) -> BrokerSettings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver-namespace", default="oauth2-csi")
    parser.set_defaults(store=store)
    server_flags.add_broker(parser)
    return server_flags.broker_settings(parser.parse_args(arguments))


def test_the_broker_of_another_namespace_serves_its_plugin() -> None:
    settings = broker(
        *("--driver-namespace", "elsewhere", "--node-account", "plugin"),
        *("--namespace", "alice", "--namespace", "bob", "--namespace", "alice"),
        *("--tls-cert-file", "/c", "--tls-key-file", "/k"),
    )
    assert settings.names == {"oauth2-csi-broker.elsewhere.svc"}
    assert settings.account == "elsewhere:plugin"
    assert settings.namespaces == ("alice", "bob")
    assert settings.files is not None


def test_a_folder_needs_no_broker() -> None:
    with pytest.raises(InvalidSettings, match="--store kubernetes"):
        broker(store=Path("/store"))
