from csidriver.adapters.kubernetes import KubernetesClient, LeaseStore
from csidriver.core.kubernetes.lease import LeaseRecord
from tests.adapters.kubernetes.scripted import Says, Scripted


def test_a_lease_promises_whole_seconds_and_drops_an_empty_holder(
    api: Scripted, client: KubernetesClient
) -> None:
    api.answering = lambda asked: Says(
        asked.body | {"metadata": asked.body["metadata"] | {"resourceVersion": "8"}}
    )
    records = LeaseStore(client, "oauth2-csi")
    stored = records.write(LeaseRecord("us", 2.5, 10.25, 20.5, 3, "7"))
    assert stored == LeaseRecord("us", 3.0, 10.25, 20.5, 3, "8")
    [asked] = api.asked
    assert (asked.method, asked.body["metadata"]["resourceVersion"]) == ("PUT", "7")
    assert (
        asked.path
        == "/apis/coordination.k8s.io/v1/namespaces/oauth2-csi/leases/oauth2-csi-refresher"
    )
    assert asked.body["spec"]["renewTime"] == "1970-01-01T00:00:20.500000Z"
    records.write(LeaseRecord("", 3.0))
    assert api.asked[1].method == "POST"
    assert "holderIdentity" not in api.asked[1].body["spec"]
