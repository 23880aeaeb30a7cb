"""Every number of the bench: its key, what it is and what it should be. Parts measure, this judges.

The table of bench/README.md is made from it, so that no key stays unexplained.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of results.json.

    `what` is its line in the table, `note` what bench/README.md adds to it. `go` marks what needs
    the Go peer, `full` a target that only a full run has the counts for.
    """

    part: str
    key: str
    what: str
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""
    go: bool = False
    full: bool = False

    def target(self) -> str:
        """Return the target as text, "" without one."""
        if self.at_most is not None:
            return f"<= {self.at_most:g} {self.unit}".rstrip()
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.unit}".rstrip()
        return ""

    def keeps(self, value: float) -> bool:
        """Return True if a value meets the target, or there is no target."""
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )


_PUBLISH = (
    Entry(
        "publish", "publish_p50_ms", "publish, 1 caller, p50", "ms",
        note="NodePublishVolume over the socket while 109 other volumes are published",
    ),
    Entry("publish", "publish_p99_ms", "... p99", "ms"),
    Entry("publish", "publish_floor_ms", "... floor: its system calls alone, p50", "ms"),
    Entry("publish", "publish_p50_ratio_floor", "... publish / floor", "x", at_most=14),
    Entry(
        "publish", "empty_call_ms", "... a call that does nothing, p50", "ms",
        note="NodeGetCapabilities: what gRPC takes on both sides",
    ),
    Entry(
        "publish", "publish_wire_ms", "publish without a gRPC client, p50", "ms",
        note="the frames of HTTP/2 written by the bench",
    ),
    Entry("publish", "empty_call_wire_ms", "... a call that does nothing, p50", "ms"),
    Entry(
        "publish", "publish_new_connection_ms", "publish, connecting included, p50", "ms",
        note="as kubelet does; the others keep their connection",
    ),
    Entry("publish", "empty_call_new_connection_ms", "... a call that does nothing, p50", "ms"),
    Entry("publish", "publish_16_p99_ms", "publish, 16 callers, p99", "ms",
          note="each unpublishes and publishes volumes of its own"),
    Entry("publish", "empty_call_16_p99_ms", "... a call that does nothing, p99", "ms"),
    Entry(
        "publish", "publish_16_per_second", "... volumes a second", "/s",
        note="each unpublished and published",
    ),
    Entry(
        "publish", "publish_first_ms", "publish, first volume of a companion, p50", "ms",
        note="waits for a broker, which reads pod and namespace",
    ),
    Entry(
        "publish", "republish_p50_ms", "republish, p50", "ms",
        note="the same call for a published volume, as kubelet repeats it",
    ),
    Entry("publish", "unpublish_p50_ms", "unpublish, p50", "ms"),
    Entry("publish", "unpublish_floor_ms", "... floor: its system calls alone, p50", "ms"),
    Entry("publish", "publish_go_ms", "publish by the Go peer, p50", "ms", go=True,
          note="hostpath CSI driver, ephemeral volumes, same client, rounds in turn"),
    Entry("publish", "publish_ratio_go", "... Go / ours", "x", at_least=5, go=True),
    Entry("publish", "republish_ratio_go", "republish, Go / ours", "x", at_least=4, go=True),
    Entry("publish", "unpublish_ratio_go", "unpublish, Go / ours", "x", go=True),
)  # fmt: skip
FANOUT_SIZES = (1, 10, 40, 110)


def _fanout() -> tuple[Entry, ...]:
    entries = []
    for size in FANOUT_SIZES:
        limit = 150.0 if size == 110 else None  # noqa: PLR2004 - a full node
        files = "1 file" if size == 1 else f"{size} files"
        entries += [
            Entry(
                "fanout", f"fanout_{size}_p99_ms", f"new token in {files}, p99", "ms", limit,
                note="from the PATCH of the companion until inotify tells of the last file",
            ),
            Entry("fanout", f"fanout_{size}_p50_ms", "... p50", "ms"),
            Entry(
                "fanout", f"fanout_{size}_floor_p99_ms", "... floor, p99", "ms",
                note="a bare watcher that writes the same bytes with pwrite(2)",
            ),
            Entry("fanout", f"fanout_{size}_floor_p50_ms", "... floor, p50", "ms"),
        ]  # fmt: skip
    return (
        *entries,
        Entry("fanout", "fanout_ratio_floor", "... 110 files, p50 / floor", "x"),
    )  # fmt: skip


_READS = (
    Entry("reads", "reads_total", "reads judged", "", at_least=1e7, full=True,
          note="of files that the plugin rewrites, 1.2 and 6 kB, whole and in chunks"),
    Entry("reads", "bad_reads_ours", "... torn, empty or mixed", "", at_most=0),
    Entry("reads", "rewrites_ours", "... new tokens seen meanwhile", "", note="by each reader"),
    Entry("reads", "bad_reads_truncate", "bad reads, truncate and write", "",
          note="a naive writer beside it, same pace, readers and tokens"),
    Entry("reads", "reads_truncate", "... of so many", ""),
    Entry("reads", "bad_reads_pwrite", "bad reads, pwrite and truncate", "",
          note="another naive writer"),
    Entry("reads", "reads_pwrite", "... of so many", ""),
    Entry("reads", "reader_open_p999_us", "open(2) of a file being rotated, p99.9", "us",
          note="by the readers, which open an idle file in turn"),
    Entry("reads", "reader_open_idle_p999_us", "... of an idle file, p99.9", "us"),
    Entry("reads", "reader_open_ratio", "... rotated / idle", "x"),
    Entry("reads", "lease_hold_p99_us", "write lease held, p99, plugin idle else", "us",
          note="clocks read between the system calls of the plugin; see bench/lease_probe.py"),
    Entry("reads", "lease_hold_busy_p99_us", "... while it publishes and is read from, p99", "us"),
    Entry("reads", "lease_hold_floor_us", "... floor: the same calls in C's order, p99", "us",
          note="the same chain in a process that does nothing else"),
)  # fmt: skip
RSS_SIZES = (0, 20, 110, 250)


def _footprint() -> tuple[Entry, ...]:
    ours = [
        Entry(
            "footprint", f"node_rss_{size}_mib", f"RSS of the node pod, {size} volumes", "MiB",
            note="20 companions, two brokers; one container, no sidecar",
        )
        for size in RSS_SIZES
    ]  # fmt: skip
    pair = [
        Entry(
            "footprint", f"node_rss_{size}_go_mib", f"RSS of the Go pair, {size} volumes", "MiB",
            note="hostpath driver and node-driver-registrar", go=True,
        )
        for size in RSS_SIZES
    ]  # fmt: skip
    return (
        *ours,
        Entry("footprint", "node_pss_110_mib", "... PSS, 110 volumes", "MiB"),
        Entry("footprint", "node_rss_floor_mib", "... floor: an empty grpcio server", "MiB"),
        Entry("footprint", "node_rss_ratio_floor", "... 110 volumes / floor", "x"),
        *pair,
        Entry("footprint", "node_pod_ratio_go", "RSS, 110 volumes, ours / Go pair", "x",
              at_most=1.3, go=True),
        Entry("footprint", "node_rss_kib_per_volume", "RSS per volume more", "KiB", at_most=50,
              note="from 250 to 750 volumes"),
        Entry("footprint", "node_rss_kib_per_companion", "RSS per companion more", "KiB",
              at_most=20, note="from 20 to 120, each with a volume"),
        Entry("footprint", "node_idle_cpu_percent", "CPU of a node where nothing changes", "%",
              note="of one core, 110 volumes, 60 s"),
    )  # fmt: skip


_START = (
    Entry("start", "start_to_registered_ms", "start, from exec to registered, p50", "ms",
          note="stand-in kubelet; byte code compiled beforehand"),
    Entry("start", "start_floor_ms", "... floor: an empty grpcio server", "ms"),
    Entry("start", "start_ratio_floor", "... start / floor", "x"),
    Entry("start", "start_110_ms", "start with 110 volumes published, p50", "ms"),
    Entry("start", "stop_s", "graceful stop, slowest", "s", at_most=2),
)  # fmt: skip
_REFRESHER = (
    Entry("refresher", "refresh_per_second", "refreshes per second, saturated", "/s",
          note="all tokens due at once; strict AS and kube-apiserver on the same cores"),
    Entry("refresher", "refresh_cpu_ms", "... CPU per refresh", "ms"),
    Entry("refresher", "api_writes_per_refresh", "... writes at the API server", "", at_most=4,
          note="Secrets and Events, counted by kube-apiserver"),
    Entry("refresher", "api_reads_per_refresh", "... reads at the API server", "", at_most=0.2),
    Entry("refresher", "as_calls_per_refresh", "... tokens presented", "", at_most=1,
          note="counted by the authorization server"),
    Entry("refresher", "refresh_floor_per_second", "... floor: the same exchanges, bare", "/s",
          note="one POST and the writes of a refresh, in order, by 8 threads of bare calls"),
    Entry("refresher", "refresh_ratio_floor", "... time of a refresh / floor", "x"),
)  # fmt: skip
_CONNECTIONS = (
    Entry("connections", "request_fresh_cpu_ms", "token request, new TLS connection, CPU", "ms",
          note="of the client; the server closes the connection after each answer"),
    Entry("connections", "request_kept_cpu_ms", "... over a kept connection", "ms"),
    Entry("connections", "request_kept_ratio_fresh", "... kept / new", "x", at_most=0.5),
    Entry("connections", "whole_refresh_fresh_cpu_ms", "whole refresh, new TLS connection, CPU",
          "ms", note="of a refresher, with the writes at a real API server"),
    Entry("connections", "whole_refresh_kept_cpu_ms", "... over a kept connection", "ms"),
    Entry("connections", "whole_refresh_kept_ratio_fresh", "... kept / new", "x", at_most=0.8),
)  # fmt: skip
_SCALE = (
    Entry("scale", "scale_10k_start_s", "start with 10,000 tokens, until scheduled", "s",
          at_most=60, note="among 10,000 other Secrets; a quick run has 1,000 of each"),
    Entry("scale", "scale_10k_rss_mib", "... RSS", "MiB", at_most=250),
    Entry("scale", "scale_10k_rss_peak_mib", "... the most so far", "MiB"),
    Entry("scale", "scale_10k_cpu_percent", "... CPU, of one core", "%", at_most=15,
          note="in a window of 60 s in which what is due is refreshed"),
    Entry("scale", "scale_10k_lateness_p99_s", "... refreshed after it was due, p99", "s"),
    Entry("scale", "scale_10k_lateness_p50_s", "... p50", "s"),
    Entry("scale", "scale_10k_refreshes", "... refreshes in the window"),
    Entry("scale", "scale_10k_api_writes_per_refresh", "... writes per refresh", "", at_most=4),
    Entry("scale", "scale_10k_api_reads_per_refresh", "... reads per refresh", "", at_most=0.2),
    Entry("scale", "reseed_adopted_s", "... a new login adopted and proved, slowest", "s",
          at_most=2, note="of five, from `kubectl apply` to the exchange"),
    Entry("scale", "scale_10k_sweep_cpu_s", "... CPU of 20 s with a visit to every token", "s"),
)  # fmt: skip
_WEBHOOK = (
    Entry("webhook", "webhook_p50_ms", "admission of a pod with 3 containers, p50", "ms",
          note="AdmissionReview over HTTPS on a connection that stays, as kube-apiserver does"),
    Entry("webhook", "webhook_p99_ms", "... p99", "ms", at_most=5),
    Entry("webhook", "webhook_floor_ms", "... floor: a server that answers unseen, p50", "ms",
          note="Python's HTTPS server with a canned answer of the same size"),
    Entry("webhook", "webhook_ratio_floor", "... p50 / floor", "x"),
    Entry("webhook", "webhook_large_ms", "admission of a pod of 256 KiB, p50", "ms"),
    Entry("webhook", "webhook_large_floor_ms", "... floor, p50", "ms"),
    Entry("webhook", "webhook_new_ms", "admission on a new connection, p50", "ms",
          note="handshake included"),
    Entry("webhook", "webhook_new_floor_ms", "... floor, p50", "ms"),
    Entry("webhook", "webhook_rss_mib", "RSS of the webhook after all that", "MiB",
          note="certificate from files; with one of its own making `kubernetes` is loaded, too"),
)  # fmt: skip
_BROKER = (
    Entry("broker", "broker_fanout_p99_s", "new token to 1,000 nodes, p99", "s", at_most=1,
          note="20 subscriptions each, TLS; reviews and re-checks included; median of 5 changes"),
    Entry("broker", "broker_fanout_p50_s", "... p50", "s"),
    Entry("broker", "broker_refused_fanout_p99_s", "... beside refused callers, p99", "s",
          at_most=2, note="100 new TLS connections a second, whose token is refused"),
    Entry("broker", "broker_refused_per_second", "... refused callers", "/s"),
    Entry("broker", "broker_refused_cpu_percent", "... CPU of the broker meanwhile", "%"),
    Entry("broker", "broker_all_nodes_s", "start of a broker that 1,000 nodes wait for", "s",
          at_most=60, note="until each of 20,000 subscriptions has a token"),
    Entry("broker", "broker_start_cpu_s", "... CPU", "s"),
    Entry("broker", "broker_connections", "... connections that the kernel counts", "",
          at_least=1000, full=True),
    Entry("broker", "broker_idle_cpu_percent", "CPU of a broker where nothing rotates", "%",
          at_most=3, note="of one core; reviews and re-checks at their usual pace"),
    Entry("broker", "broker_idle_requests_per_second", "... requests to the API server", "/s"),
    Entry("broker", "broker_rss_mib", "RSS of a broker with 1,000 nodes", "MiB", at_most=256,
          note="20 subscriptions each, 1,000 companions"),
    Entry("broker", "broker_refused_rss_mib", "... after the refused callers", "MiB"),
)  # fmt: skip

ENTRIES: tuple[Entry, ...] = (
    *_PUBLISH,
    *_fanout(),
    *_READS,
    *_footprint(),
    *_START,
    *_REFRESHER,
    *_CONNECTIONS,
    *_SCALE,
    *_WEBHOOK,
    *_BROKER,
)
BY_KEY: Mapping[str, Entry] = {entry.key: entry for entry in ENTRIES}
