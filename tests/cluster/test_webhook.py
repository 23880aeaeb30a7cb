"""The webhook as a process with the rights that deploy/ gives it, asked by a real API server."""

import json
import re
import signal
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings

from tests.cluster.broker_role import create_namespace
from tests.cluster.cluster import Cluster
from tests.cluster.webhook_cluster import Pod, WebhookCluster
from tests.core.admission.pods import ENTRY, EOS, KEY, PODS, pod_with
from tests.processes import page_of, running
from tests.waiting import until

pytestmark = pytest.mark.tools("etcd", "kube-apiserver", "kubectl")

OPEN = "webhook-open"
PORT = re.compile(r"admission reviews on port ([0-9]+)")


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[WebhookCluster]:
    """With the webhook up and trusted."""
    webhook_cluster = WebhookCluster(cluster)
    webhook_cluster.reset()
    create_namespace(cluster.plane, OPEN)
    flags = ["--store", "kubernetes", "--kubeconfig", str(webhook_cluster.kubeconfig)]
    flags += ["--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"]
    try:
        with running("webhook", *flags) as (process, log):
            page_of(log, "readyz")  # which waits for a slow start
            found = until(lambda: PORT.search(log.read_text(encoding="utf-8")), "it listens")
            until(lambda: "does not exist" in page_of(log, "readyz")[1], "it looks for it")
            webhook_cluster.register(int(found[1]))
            until(lambda: page_of(log, "readyz") == (200, "ok\n"), "ready")
            webhook_cluster.wait_until_served(OPEN)
            yield webhook_cluster
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text(encoding="utf-8")
            assert "Traceback" not in log.read_text(encoding="utf-8")
    finally:
        webhook_cluster.reset()


def test_kubectl_shows_why_an_annotation_is_refused_and_warnings(asked: WebhookCluster) -> None:
    create = ("create", "--filename=-", "--dry-run=server", f"--namespace={OPEN}")
    done = asked.plane.try_kubectl(*create, stdin=json.dumps(pod_with(ENTRY, ENTRY)))
    assert done.returncode != 0
    hints = (KEY, "entry 2 of 2", "taken by entry 1")
    assert [hint for hint in hints if hint not in done.stderr] == []
    done = asked.plane.try_kubectl(*create, stdin=json.dumps(yaml.safe_load(EOS)))
    assert done.returncode == 0
    assert "Warning: entry 1 of 1" in done.stderr
    assert "eos-printer" in done.stderr


@settings(
    max_examples=100,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(pod=PODS)
def test_a_pod_that_is_taken_without_the_annotation_is_taken_or_denied_by_us_with_it(
    asked: WebhookCluster, pod: Pod
) -> None:
    annotations = pod["metadata"].pop("annotations")
    status, plain = asked.create_pod(OPEN, pod)
    if status != HTTPStatus.CREATED:
        event("not a valid pod")
        return
    pod["metadata"]["annotations"] = annotations
    entries = json.loads(annotations[KEY])
    status, answer = asked.create_pod(OPEN, pod)
    if status == HTTPStatus.BAD_REQUEST:
        event("denied by us")
        assert "denied the request: annotation" in answer["message"]
        return
    event(f"taken, with {len(entries)} entries")
    assert status == HTTPStatus.CREATED, answer
    before, after = plain["spec"], answer["spec"]
    added = 0
    for kind in ("containers", "initContainers"):
        for old, new in zip(before.get(kind, []), after.get(kind, []), strict=True):
            assert old | {"volumeMounts": []} == new | {"volumeMounts": []}
            added += len(new.get("volumeMounts", [])) - len(old.get("volumeMounts", []))
    assert added == len(entries)
    status, repeated = asked.create_pod(OPEN, pod | {"spec": answer["spec"]})
    assert (status, repeated["spec"]) == (HTTPStatus.CREATED, answer["spec"])
