from prometheus_client import CollectorRegistry

from csidriver.broker.metrics import BrokerMetrics
from csidriver.core.broker.denial import Denial


def test_every_reason_has_a_counter_from_the_start() -> None:
    registry = CollectorRegistry()
    BrokerMetrics(registry)
    labels = [{"reason": denial.value} for denial in Denial]
    name = "oauth2_csi_broker_denials_total"
    assert {registry.get_sample_value(name, label) for label in labels} == {0}
