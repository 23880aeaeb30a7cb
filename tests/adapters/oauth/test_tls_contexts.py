import ssl
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.core.oauth.failure_reason import Consumption, FailureReason
from csidriver.core.oauth.token_response import Failure, Success
from tests.adapters.oauth.peer import (
    Peer,
    at_peer,
    certificate,
    http,
    refresh,
    signal,
)


def test_a_certificate_is_trusted_for_its_name_only_through_ca_file(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    with Peer(http(), tls=context) as peer:
        distrusted = refresh(at_peer(peer, "https"))
        assert isinstance(distrusted, Failure)
        assert (distrusted.reason, distrusted.reason.consumption) == (
            FailureReason.TLS,
            Consumption.NOT_SENT,
        )
        assert signal(refresh(at_peer(peer, "https", ca_file=str(other)))) is FailureReason.TLS
        assert peer.requests == []
        own = at_peer(peer, "https", ca_file=str(tmp_path / "server.pem"))
        issuer = replace(own, ca_file=str(ca_file))
        assert isinstance(refresh(own), Success)
        assert isinstance(refresh(issuer), Success)
        url = issuer.token_endpoint.replace("127.0.0.1", "localhost")
        assert signal(refresh(replace(issuer, token_endpoint=url))) is FailureReason.TLS


def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the server's version is deprecated, which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Peer(http(), tls=context) as peer:
        outcome = refresh(at_peer(peer, "https", ca_file=str(ca_file)))
    assert signal(outcome) is FailureReason.UNREACHABLE
    assert peer.requests == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (ssl.TLSVersion.TLSv1_2, FailureReason.UNREACHABLE),
        (ssl.TLSVersion.TLSv1_3, FailureReason.TLS),
    ],
)
def test_a_server_that_demands_a_certificate_was_sent_nothing(
    tmp_path: Path, version: ssl.TLSVersion, expected: FailureReason
) -> None:
    """With TLS 1.3 its alert comes after the client has sent its request."""
    ca_file, context = certificate(tmp_path)
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    with Peer(http(), tls=context) as peer:
        issuer = at_peer(peer, "https", ca_file=str(ca_file), scope="x" * 200_000)
        outcome = refresh(issuer)
        assert peer.requests == []
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.reason.consumption) == (expected, Consumption.NOT_SENT)


def test_an_end_of_tls_after_the_request_proves_nothing(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path)
    with Peer(b"HTTP/1.1 20", tls=context) as peer:
        outcome = refresh(at_peer(peer, "https", ca_file=str(ca_file)))
        assert len(peer.requests) == 1
    assert signal(outcome) is FailureReason.NO_ANSWER


def test_tls_secrets_are_not_written_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, context = certificate(tmp_path)
    secrets_file = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(secrets_file))
    with Peer(http(), tls=context) as peer:
        assert isinstance(refresh(at_peer(peer, "https", ca_file=str(ca_file))), Success)
    assert not secrets_file.exists()
