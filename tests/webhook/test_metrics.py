from prometheus_client import CollectorRegistry

from csidriver.webhook.metrics import Result, WebhookMetrics


def test_every_result_is_counted_from_zero() -> None:
    registry = CollectorRegistry()
    WebhookMetrics(registry)
    name = "oauth2_csi_webhook_admissions_total"
    labels = [{"result": result.value} for result in Result]
    assert {registry.get_sample_value(name, label) for label in labels} == {0}
