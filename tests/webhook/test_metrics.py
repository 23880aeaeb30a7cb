from prometheus_client import CollectorRegistry

from csidriver.webhook.metrics import Result, WebhookMetrics


def test_every_result_is_counted_from_zero() -> None:
    registry = CollectorRegistry()
    metrics = WebhookMetrics(registry)
    metrics.admissions.labels(Result.DENIED.value).inc()
    counts = {
        result: registry.get_sample_value(
            "oauth2_csi_webhook_admissions_total", {"result": result.value}
        )
        for result in Result
    }
    assert counts == {result: float(result is Result.DENIED) for result in Result}
