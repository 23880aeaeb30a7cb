import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.admission.inject import inject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.refresh.source import Source, is_source
from csidriver.core.sensitive import Sensitive

EXAMPLES = Path(__file__).parents[2] / "examples"
# What `kubectl apply -f examples/` applies, then what it does not.
APPLIED = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
FILES = [*APPLIED, *sorted(f"announcement/{p.name}" for p in EXAMPLES.glob("announcement/*"))]

Manifest = dict[str, Any]


def manifests(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def one(name: str, kind: str) -> Manifest:
    (manifest,) = [manifest for manifest in manifests(name) if manifest["kind"] == kind]
    return manifest


def pod_of(name: str) -> Manifest:
    """The pod of a file, or the one that its Deployment creates."""
    (manifest,) = [m for m in manifests(name) if m["kind"] in {"Pod", "Deployment"}]
    if manifest["kind"] == "Pod":
        return manifest
    template: Manifest = manifest["spec"]["template"]
    assert manifest["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    return {"apiVersion": "v1", "kind": "Pod", **template}


def test_the_examples_are_there() -> None:
    names = {"token-printer.yaml", "eos.yaml"}
    assert {"hello-token.yaml", "csi-volume.yaml", *names} <= set(APPLIED)
    assert {f"announcement/{name}" for name in names} <= set(FILES)


def test_the_readme_shows_the_examples_of_secrets() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    shown = [found for found in map(yaml.safe_load, blocks) if found.get("kind") == "Secret"]
    assert [found["metadata"]["name"] for found in shown] == ["hello-token", "robot-token"]
    for found in shown:
        example = one(f"{found['metadata']['name']}.yaml", "Secret")
        assert found["metadata"] == example["metadata"]
        assert found["stringData"].keys() == example["stringData"].keys()


@pytest.mark.parametrize("name", ["token-printer.yaml", "eos.yaml"])
def test_a_deployment_runs_the_announced_pod(name: str) -> None:
    pod, announced = pod_of(name), pod_of(f"announcement/{name}")
    assert pod["spec"] == {**announced["spec"], "terminationGracePeriodSeconds": 1}
    assert pod["metadata"]["annotations"] == announced["metadata"]["annotations"]


@pytest.mark.parametrize("name", [name for name in APPLIED if not name.endswith("-token.yaml")])
def test_an_example_ends_at_once_when_it_is_deleted(name: str) -> None:
    # Not 0, with which its name would be free before its containers have ended.
    assert pod_of(name)["spec"]["terminationGracePeriodSeconds"] == 1


@pytest.mark.parametrize("name", APPLIED)
def test_an_example_survives_that_the_webhook_is_not_there_yet(name: str) -> None:
    for pod in [manifest for manifest in manifests(name) if manifest["kind"] == "Pod"]:
        assert annotations.TO_INJECT not in pod["metadata"].get("annotations", {})


@pytest.mark.parametrize("name", FILES)
def test_an_example_can_be_applied_in_any_namespace(name: str) -> None:
    for manifest in manifests(name):
        assert manifest["apiVersion"] == ("apps/v1" if manifest["kind"] == "Deployment" else "v1")
        assert manifest["metadata"]["name"]
        assert "namespace" not in manifest["metadata"]


def test_no_two_examples_are_in_each_others_way() -> None:
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in [manifest for name in FILES for manifest in manifests(name)]:
        key = manifest["kind"], manifest["metadata"]["name"]
        # Both EOS examples bring the same template.
        assert found.setdefault(key, manifest) == manifest
        assert found[key] is manifest or manifest["kind"] == "ConfigMap"


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("-token.yaml")])
def test_containers_use_an_image_that_may_already_be_there(name: str) -> None:
    for container in pod_of(name)["spec"]["containers"]:
        assert (container["image"], container["imagePullPolicy"]) == ("busybox", "IfNotPresent")


def test_the_refresher_understands_the_secret_without_a_login() -> None:
    example = one("robot-token.yaml", "Secret")
    data = {key: Sensitive(text) for key, text in example["stringData"].items()}
    marks = example["metadata"]["annotations"]
    secret = Secret("team-a", "robot-token", annotations=marks, data=data)
    assert is_source(secret)
    source = Source.parse(secret)
    assert source.grant_type is GrantType.CLIENT_CREDENTIALS
    assert source.client.client_id == "my-app"


def test_the_secret_is_marked_and_whole() -> None:
    secret = one("hello-token.yaml", "Secret")
    assert secret["metadata"]["name"] == "hello-token"
    assert secret["metadata"]["annotations"] == {annotations.IS_TOKEN: "true"}
    data = secret["stringData"]
    assert data[annotations.KEY_CLIENT_ID] == "my-app"
    assert data[annotations.KEY_CLIENT_SECRET] == "my-app-client-secret"
    document = json.loads(data[annotations.KEY_OAUTH])
    assert (document["access_token"], document["refresh_token"]) == ("eyJhb...", "eyJhbG...")


@pytest.mark.parametrize(
    ("name", "pod_name", "template"),
    [
        pytest.param("announcement/token-printer.yaml", "token-printer-pod", None, id="plain"),
        pytest.param(
            "announcement/eos.yaml",
            "token-printer-eos-pod",
            "oauth-token-eos-template",
            id="eos",
        ),
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
        "driver": core_names.DRIVER_NAME,
        "readOnly": True,
        "volumeAttributes": expected,
    }
    assert injection.pod["spec"]["containers"][0]["volumeMounts"][-1] == {
        "name": volume["name"],
        "mountPath": "/tmp/oauthtk_0",
        "subPath": "oauthtk_0",
        "readOnly": True,
    }


@pytest.mark.parametrize("name", ["eos.yaml", "announcement/eos.yaml"])
def test_the_eos_template_is_the_announced_one_to_the_byte(name: str) -> None:
    config_map = one(name, "ConfigMap")
    assert config_map["metadata"]["name"] == "oauth-token-eos-template"
    assert config_map["data"] == {
        core_names.TEMPLATE_KEY: (
            "oauth2:$(ACCESS_TOKEN):auth.cern.ch/auth/realms/cern/protocol/openid-connect/userinfo"
        )
    }


def test_the_eos_pod_starts_where_there_is_no_eos() -> None:
    pod = pod_of("eos.yaml")
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
    assert volume["csi"]["driver"] == core_names.DRIVER_NAME
    assert volume["csi"]["readOnly"] is True
    attributes = volume["csi"]["volumeAttributes"]
    assert all(isinstance(value, str) for value in attributes.values())
    assert attributes["secretName"] == "hello-token"
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": "/token", "readOnly": True}
    assert inject(pod).pod == pod
