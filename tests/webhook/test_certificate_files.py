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
from tests.waiting import until
from tests.webhook.rig import FakeClock

PKI = CertificateFactory()


class Rig:
    """Two files in a folder, as kubelet projects them: replaced, not written in place."""

    def __init__(self, folder: Path) -> None:
        self.files = CertificateFiles(folder / "tls.crt", folder / "tls.key")
        self.clock = FakeClock(float(int(time.time())))
        expiry = WebhookMetrics(CollectorRegistry()).expiry
        self.expiry = expiry._value.get
        self._authority = PKI.new_authority(self.clock.time, 9000.0)
        self.given = FileCertificates(self.files, PKI, self.clock, expiry)

    def put(self, lifetime: float = 1000.0) -> tuple[Certificate, Sensitive]:
        names, now = ["hook.ns.svc"], self.clock.time
        made, key = PKI.issue_serving_certificate(*self._authority, names, now, lifetime)
        for file, text in ((self.files.certificate, made.pem), (self.files.key, key.reveal())):
            new = file.with_suffix(".new")
            new.write_text(text, encoding="ascii")
            new.rename(file)
        return made, key


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_files_are_served_and_loaded_again_when_they_have_changed(rig: Rig) -> None:
    assert (rig.given.context(), rig.given.pair()) == (None, None)
    assert len(rig.given.problems()) == 1
    certificate, key = rig.put()
    rig.given.reload()
    first = rig.given.context()
    assert isinstance(first, ssl.SSLContext)
    assert rig.given.pair() == (certificate.pem, key)
    assert rig.given.problems() == []
    assert rig.expiry() == certificate.expires
    rig.given.reload()
    assert rig.given.context() is first
    later, _ = rig.put(2000.0)
    rig.given.reload()
    assert rig.given.context() is not first
    assert rig.expiry() == later.expires


def _half_of_a_change(rig: Rig) -> None:
    key = rig.files.key.read_bytes()
    rig.put()
    rig.files.key.write_bytes(key)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda rig: rig.files.key.unlink(), "tls.key cannot be read"),
        (lambda rig: rig.files.certificate.unlink(), "tls.crt cannot be read"),
        (lambda rig: rig.files.certificate.write_text("nonsense"), "contains no certificate"),
        (lambda rig: rig.files.key.write_bytes(b"\xff\xfe"), "tls.key cannot be read"),
        (_half_of_a_change, "tls.key is not the key of"),
    ],
    ids=["no key", "no certificate", "nonsense", "no text", "half of a change"],
)
def test_what_cannot_be_used_is_told_once_and_the_former_stays(
    rig: Rig, damage: Callable[[Rig], None], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put()
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
    rig.clock.time += 1000
    assert rig.given.problems() == [f"the certificate has expired: {record.getMessage()}"]
    later, _ = rig.put(3000.0)
    rig.given.reload()
    assert rig.expiry() == later.expires


def test_files_are_watched_until_the_stop(rig: Rig) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=rig.given.run, args=(stop,))
    thread.start()
    rig.put()
    until(lambda: rig.given.context() is not None)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
