import threading
import time

from prometheus_client import CollectorRegistry

from csidriver.webhook.certificate_source import Certificates
from csidriver.webhook.https_server import AdmissionServer
from csidriver.webhook.metrics import WebhookMetrics
from csidriver.webhook.review_handler import handle_review
from csidriver.webhook.webhook import Webhook
from tests.waiting import until
from tests.webhook.served import PATIENCE

DRAIN = 0.5  # seconds


def test_the_role_is_not_ready_before_it_ends() -> None:
    class Given(Certificates):
        def problems(self) -> list[str]:
            return []

        def run(self, stop: threading.Event) -> None:
            stop.wait(PATIENCE)

    fresh = AdmissionServer(
        ("127.0.0.1", 0), lambda: None, handle_review, WebhookMetrics(CollectorRegistry())
    )
    role, stop = Webhook(Given(), fresh, drain=DRAIN), threading.Event()
    assert role.alive() != []
    thread = threading.Thread(target=role.run, args=(stop,))
    thread.start()
    until(lambda: role.alive() == [])
    assert role.ready() == []
    began = time.monotonic()
    stop.set()
    assert until(role.ready) == ["the webhook is shutting down"]
    assert role.alive() == [] or time.monotonic() - began >= DRAIN, "it goes on for a while"
    thread.join(PATIENCE)
    assert time.monotonic() - began >= DRAIN
    assert role.alive() != []
