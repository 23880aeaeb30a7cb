from pathlib import Path

import pytest

from tests.issuer.faults import StatusReply
from tests.refresher.bench import Build
from tests.waiting import until


def test_the_gauges_show_what_is_the_case_and_are_documented(build: Build) -> None:
    bench = build()
    bench.apply("hello", bench.issuer.seed("my-app"))
    bench.issuer.add_faults(StatusReply(400, b'{"error":"invalid_grant"}'))
    bench.apply("bad", bench.issuer.seed("my-app"))
    until(lambda: {bench.status("hello"), bench.status("bad")} == {"Ready", "NeedsReauth"})
    name = "hello" if bench.status("hello") == "Ready" else "bad"
    prefix, demo = "oauth2_csi_refresher_", {"issuer": "demo"}

    def value(metric: str, labels: dict[str, str] | None = None) -> float | None:
        return bench.registry.get_sample_value(prefix + metric, labels or {})

    until(lambda: bench.tokens("Ready") == bench.tokens("NeedsReauth") == 1)
    assert bench.tokens("LostRotation") == 0
    assert value("sources") == 2
    expiry = value("earliest_expiry_timestamp_seconds", demo)
    assert expiry == pytest.approx(bench.grant(name).expires_at)
    assert value("expired_tokens", demo) == 0
    assert value("breaker_state", demo) == 0
    assert value("allowed_rate", demo) == 50.0
    assert value("demanded_exchanges_total", demo) == 2
    until(lambda: value("spool_entries") == 0)
    until(lambda: value("queue_depth") == 0)
    assert value("commit_seconds_count") == 2
    assert value("changes_total", {"reason": "NeedsReauth"}) == 1
    page = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")
    for family in bench.registry.collect():
        suffix = {"counter": "_total", "histogram": "_bucket"}.get(family.type, "")
        assert f"| `{family.name}{suffix}`" in page, family.name
    bench.configure()
    until(lambda: value("breaker_state", demo) is None, "nothing of a removed issuer alerts")
    bench.stop()
    assert bench.tokens("Ready") is None, "who stands by shows nothing"
