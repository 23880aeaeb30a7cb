import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.config import CertificateFiles
from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive
from csidriver.webhook.certificate_files import FileCertificates
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.x509 import CertificateFactory
from tests.refresher.bench import until
from tests.webhook.fakes import FakeClock

PKI = CertificateFactory()
Pair = tuple[Certificate, Sensitive]


class Rig:
    """Two files in a folder, as kubelet projects them: replaced, not written in place."""

    def __init__(self, folder: Path) -> None:
        self.files = CertificateFiles(folder / "tls.crt", folder / "tls.key")
        self.clock = FakeClock(float(int(time.time())))
        self.registry = CollectorRegistry()
        self._authority = PKI.new_authority(self.clock.time, 9000.0)
        metrics = WebhookMetrics(self.registry)
        self.given = FileCertificates(self.files, PKI, self.clock, metrics.expiry)

    def pair(self, life: float = 1000.0) -> Pair:
        return PKI.issue_serving_certificate(
            *self._authority, ["hook.ns.svc"], self.clock.time, life
        )

    def put(self, pair: Pair) -> Pair:
        self.replace(self.files.certificate, pair[0].pem)
        self.replace(self.files.key, pair[1].reveal())
        return pair

    @staticmethod
    def replace(file: Path, text: str) -> None:
        made = file.with_suffix(".new")
        made.write_text(text, encoding="ascii")
        made.rename(file)

    def expiry(self) -> float | None:
        name = "oauth2_csi_webhook_certificate_expiry_timestamp_seconds"
        return self.registry.get_sample_value(name)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_files_are_served(rig: Rig) -> None:
    assert (rig.given.context(), rig.given.pair()) == (None, None)
    assert len(rig.given.problems()) == 1
    certificate, key = rig.put(rig.pair())
    rig.given.reload()
    assert isinstance(rig.given.context(), ssl.SSLContext)
    assert rig.given.pair() == (certificate.pem, key)
    assert rig.given.problems() == []
    assert rig.expiry() == certificate.expires


def test_files_that_have_changed_are_served_and_others_are_not_loaded(rig: Rig) -> None:
    rig.put(rig.pair())
    rig.given.reload()
    first = rig.given.context()
    rig.given.reload()
    assert rig.given.context() is first
    later, _ = rig.put(rig.pair(2000.0))
    rig.given.reload()
    assert rig.given.context() is not first
    assert rig.expiry() == later.expires


def _no_key(rig: Rig) -> None:
    rig.files.key.unlink()


def _no_certificate(rig: Rig) -> None:
    rig.files.certificate.unlink()


def _nonsense(rig: Rig) -> None:
    rig.replace(rig.files.certificate, "nonsense")


def _no_text(rig: Rig) -> None:
    rig.files.key.write_bytes(b"\xff\xfe")


def _half_of_a_change(rig: Rig) -> None:
    rig.replace(rig.files.certificate, rig.pair()[0].pem)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_no_key, "tls.key"),
        (_no_certificate, "tls.crt"),
        (_nonsense, "tls.crt"),
        (_no_text, "tls.key"),
        (_half_of_a_change, "tls.key"),
    ],
)
def test_what_cannot_be_used_is_told_once_and_the_former_stays(
    rig: Rig, damage: Callable[[Rig], None], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(rig.pair())
    rig.given.reload()
    context = rig.given.context()
    damage(rig)
    for _ in range(3):
        rig.given.reload()
    assert rig.given.context() is context
    assert rig.given.problems() == []
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert named in record.getMessage()
    assert "PRIVATE" not in record.getMessage()
    later, _ = rig.put(rig.pair(3000.0))
    rig.given.reload()
    assert rig.expiry() == later.expires


def test_what_cannot_be_used_from_the_start_is_why_it_is_not_ready(rig: Rig) -> None:
    _nonsense(rig)
    rig.given.reload()
    assert "tls.crt" in rig.given.problems()[0]


def test_a_certificate_that_has_expired_is_why_it_is_not_ready(rig: Rig) -> None:
    rig.put(rig.pair(1000.0))
    rig.given.reload()
    rig.clock.time += 1000
    assert len(rig.given.problems()) == 1


def test_files_are_watched_until_the_stop(rig: Rig) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=rig.given.run, args=(stop,))
    thread.start()
    rig.put(rig.pair())
    until(lambda: rig.given.context() is not None)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
