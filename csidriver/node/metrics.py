"""The node plugin's metrics; their list with units is docs/reference.md."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePath

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from csidriver.node.tokenfile import RewriteResult
from csidriver.node.volume_record import VolumeRecord

Remaining = Callable[[], Iterable[tuple[VolumeRecord, float]]]

_PUBLISH_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 10.0, 60.0)
_PROPAGATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class NodeMetrics:
    """Counters of one node plugin. Labels are bounded: RPC names, gRPC codes, outcomes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._calls = counter("oauth2_csi_node_rpcs", "RPCs answered", ["method", "code"])
        self._publish = Histogram(
            "oauth2_csi_node_publish_seconds",
            "Time to answer NodePublishVolume",
            buckets=_PUBLISH_BUCKETS,
            registry=registry,
        )
        self._rewrites = counter("oauth2_csi_node_rewrites", "Token files looked at", ["outcome"])
        self.rewrite_failures = counter("oauth2_csi_node_rewrite_failures", "Rewrites that failed")
        self._propagation = Histogram(
            "oauth2_csi_node_propagation_seconds",
            "From the companion's written_at to the bytes in a file",
            buckets=_PROPAGATION_BUCKETS,
            registry=registry,
        )
        self._volumes = gauge("oauth2_csi_node_volumes", "Published volumes")
        self._outdated = gauge(
            "oauth2_csi_node_outdated_volumes",
            "Published volumes of which a container may keep a file that gets no tokens",
        )
        self.registered = gauge("oauth2_csi_node_registered", "1 while kubelet knows the plugin")
        self.clock_ahead = gauge(
            "oauth2_csi_node_clock_ahead_seconds",
            "This node's clock less the refresher's, by the last token that arrived",
        )
        for outcome in (RewriteResult.LEASED, RewriteResult.UNLEASED, RewriteResult.UNCHANGED):
            self._rewrites.labels(outcome.value)

    def count_rpc(self, method: str, code: str, seconds: float) -> None:
        self._calls.labels(method, code).inc()
        if method == "NodePublishVolume":
            self._publish.observe(seconds)

    def count_rewrite(self, result: RewriteResult, propagation: float) -> None:
        """Count a file that has the newest token, `propagation` seconds after it was written."""
        self._rewrites.labels(result.value).inc()
        if result is not RewriteResult.UNCHANGED:
            self._propagation.observe(max(0.0, propagation))

    def count_volumes(self, outdated: Callable[[], list[bool]]) -> None:
        """Count the volumes at every scrape; each is outdated or not."""
        self._volumes.set_function(lambda: len(outdated()))
        self._outdated.set_function(lambda: sum(outdated()))

    def collect_remaining(self, remaining: Remaining) -> None:
        """Report the remaining life of each file's token at every scrape; may be called once."""
        self._registry.register(_RemainingCollector(remaining))


class _RemainingCollector(Collector):
    """Reads the volumes at each scrape, so that a volume's series ends with the volume."""

    def __init__(self, remaining: Remaining) -> None:
        self._remaining = remaining

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "oauth2_csi_node_token_remaining_seconds",
            "Life left in the token a mounted file holds; negative once it has expired",
            labels=["namespace", "pod", "volume"],
        )
        for record, seconds in self._remaining():
            volume = PurePath(record.target_path).parent.name
            family.add_metric([record.namespace, record.pod_name, volume], seconds)
        yield family
