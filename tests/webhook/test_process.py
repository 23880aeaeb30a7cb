"""The webhook as a process that needs no API server: its certificate comes from files."""

import re
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive
from csidriver.webhook.x509 import CertificateFactory
from tests.processes import metrics_of, page_of, running
from tests.refresher.bench import until
from tests.webhook.served import Client

PKI = CertificateFactory()
PORT = re.compile(r"admission reviews on port ([0-9]+)")


def put(folder: Path, authority: tuple[Certificate, Sensitive]) -> str:
    """Write both at once, as kubelet does for a projected Secret: by replacing a link."""
    made, key = PKI.issue_serving_certificate(*authority, ["localhost"], time.time(), 3600.0)
    version = folder / made.id
    version.mkdir()
    (version / "tls.crt").write_text(made.pem, encoding="ascii")
    (version / "tls.key").write_text(key.reveal(), encoding="ascii")
    link = folder / "..new"
    link.symlink_to(version)
    link.rename(folder / "..data")
    return made.pem


def asked(port: int, trust: ssl.SSLContext) -> tuple[str, Any]:
    """The certificate that is shown, and the response to a review."""
    address = ("localhost", port)
    with trust.wrap_socket(socket.create_connection(address, 20), server_hostname="localhost") as s:
        shown = ssl.DER_cert_to_PEM_cert(s.getpeercert(binary_form=True) or b"")
        status, told = Client(s).post()
    assert status == 200
    return shown, told["response"]


def test_files_are_served_and_read_again_without_a_restart_or_an_api_server(tmp_path: Path) -> None:
    authority = PKI.new_authority(time.time(), 7200.0)
    trust = ssl.create_default_context(cadata=authority[0].pem)
    first = put(tmp_path, authority)
    data = tmp_path / "..data"
    flags = ["--store", "kubernetes", "--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"]
    flags += ["--tls-cert-file", str(data / "tls.crt"), "--tls-key-file", str(data / "tls.key")]
    with running("webhook", *flags) as (process, log):
        found = until(lambda: PORT.search(log.read_text(encoding="utf-8")))
        port = int(found[1])
        until(lambda: page_of(log, "readyz") == (200, "ok\n"))
        assert page_of(log, "healthz") == (200, "ok\n")
        shown, told = asked(port, trust)
        assert shown == first
        assert told["allowed"] is True
        assert told["patch"]
        second = put(tmp_path, authority)
        until(lambda: asked(port, trust)[0] == second)
        metrics = metrics_of(log)
        assert 'oauth2_csi_webhook_admissions_total{result="injected"}' in metrics
        assert "oauth2_csi_webhook_certificate_expiry_timestamp_seconds 1." in metrics
        process.send_signal(signal.SIGTERM)
        # It goes on while the end of the pod becomes known.
        until(lambda: page_of(log, "readyz")[0] == 503)
        assert asked(port, trust)[1]["allowed"] is True
        assert process.wait(20) == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        text = log.read_text(encoding="utf-8")
        assert "hello-token" not in text
        assert "PRIVATE" not in text
