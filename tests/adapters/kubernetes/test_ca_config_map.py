import pytest

from csidriver.adapters.kubernetes import CaConfigMap, KubernetesClient
from csidriver.errors import StoreConflict
from tests.adapters.kubernetes.requests import status
from tests.adapters.kubernetes.scripted import Says, Scripted

PATH = "/api/v1/namespaces/oauth2-csi/configmaps/oauth2-csi-broker-ca"


@pytest.fixture
def authorities(client: KubernetesClient) -> CaConfigMap:
    return CaConfigMap(client, "oauth2-csi", "oauth2-csi-broker-ca")


def test_a_write_names_the_version_that_was_read(api: Scripted, authorities: CaConfigMap) -> None:
    api.answering = lambda _: Says({"metadata": {"resourceVersion": "7"}})
    current = authorities.read()
    assert current is not None
    authorities.write(current, "PEM")
    asked = api.asked[1]
    assert (asked.method, asked.path) == ("PATCH", PATH)
    assert asked.body == {"metadata": {"resourceVersion": "7"}, "data": {"ca.crt": "PEM"}}
    api.answering = lambda _: status(409)
    with pytest.raises(StoreConflict):
        authorities.write(current, "PEM")


def test_it_may_be_absent(api: Scripted, authorities: CaConfigMap) -> None:
    api.answering = lambda _: status(404)
    assert authorities.read() is None
