import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import contract
from csidriver.core.admission import inject

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.yaml"))

Manifest = dict[str, Any]


def manifests(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def one(name: str, kind: str) -> Manifest:
    (manifest,) = [manifest for manifest in manifests(name) if manifest["kind"] == kind]
    return manifest


def test_the_examples_are_there() -> None:
    assert {"hello-token.yaml", "token-printer.yaml", "eos.yaml", "csi-volume.yaml"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_an_example_can_be_applied_in_any_namespace(name: str) -> None:
    for manifest in manifests(name):
        assert manifest["apiVersion"] == "v1"
        assert manifest["metadata"]["name"]
        assert "namespace" not in manifest["metadata"]


def test_no_two_examples_are_in_each_others_way() -> None:
    keys = [(m["kind"], m["metadata"]["name"]) for name in FILES for m in manifests(name)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", FILES)
def test_containers_use_an_image_that_may_already_be_there(name: str) -> None:
    pods = [manifest for manifest in manifests(name) if manifest["kind"] == "Pod"]
    for container in [container for pod in pods for container in pod["spec"]["containers"]]:
        assert (container["image"], container["imagePullPolicy"]) == ("busybox", "IfNotPresent")


def test_the_secret_is_marked_and_whole() -> None:
    secret = one("hello-token.yaml", "Secret")
    assert secret["metadata"]["name"] == "hello-token"
    assert secret["metadata"]["annotations"] == {contract.IS_TOKEN: "true"}
    data = secret["stringData"]
    assert data[contract.KEY_CLIENT_ID] == "my-app"
    assert data[contract.KEY_CLIENT_SECRET] == "my-app-client-secret"
    document = json.loads(data[contract.KEY_OAUTH])
    assert (document["access_token"], document["refresh_token"]) == ("eyJhb...", "eyJhbG...")


@pytest.mark.parametrize(
    ("name", "pod_name", "template"),
    [
        pytest.param("token-printer.yaml", "token-printer-pod", None, id="plain"),
        pytest.param("eos.yaml", "token-printer-eos-pod", "oauth-token-eos-template", id="eos"),
    ],
)
def test_an_annotated_pod_is_admitted_without_a_warning(
    name: str, pod_name: str, template: str | None
) -> None:
    pod = one(name, "Pod")
    assert pod["metadata"]["name"] == pod_name
    injection = inject(pod)
    assert injection.warnings == ()
    volume = injection.pod["spec"]["volumes"][-1]
    expected = {
        "secretName": "hello-token",
        "fileName": "oauthtk_0",
        "owner": "0",
        "group": "0",
        "mode": "0400",
    }
    if template:
        expected["templateConfigMapName"] = template
    assert volume["csi"] == {
        "driver": contract.DRIVER_NAME,
        "readOnly": True,
        "volumeAttributes": expected,
    }
    assert injection.pod["spec"]["containers"][0]["volumeMounts"][-1] == {
        "name": volume["name"],
        "mountPath": "/tmp/oauthtk_0",
        "subPath": "oauthtk_0",
        "readOnly": True,
    }


def test_the_eos_template_is_the_announced_one_to_the_byte() -> None:
    config_map = one("eos.yaml", "ConfigMap")
    assert config_map["metadata"]["name"] == "oauth-token-eos-template"
    assert config_map["data"] == {
        contract.TEMPLATE_KEY: (
            "oauth2:$(ACCESS_TOKEN):auth.cern.ch/auth/realms/cern/protocol/openid-connect/userinfo"
        )
    }


def test_the_eos_pod_starts_where_there_is_no_eos() -> None:
    pod = one("eos.yaml", "Pod")
    host_path = {"path": "/var/eos", "type": "DirectoryOrCreate"}
    assert pod["spec"]["volumes"] == [{"name": "eos", "hostPath": host_path}]
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "eos-printer"
    assert container["env"] == [{"name": "OAUTH2_TOKEN", "value": "FILE:/tmp/oauthtk_0"}]


def test_the_hand_written_volume_serves_a_user_that_is_not_root() -> None:
    pod = one("csi-volume.yaml", "Pod")
    security = pod["spec"]["securityContext"]
    assert (security["runAsUser"], security["fsGroup"]) == (1000, 2000)
    (volume,) = pod["spec"]["volumes"]
    assert volume["csi"]["driver"] == contract.DRIVER_NAME
    assert volume["csi"]["readOnly"] is True
    attributes = volume["csi"]["volumeAttributes"]
    assert all(isinstance(value, str) for value in attributes.values())
    assert attributes["secretName"] == "hello-token"
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": "/token", "readOnly": True}
    assert inject(pod).pod == pod
