import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def test_no_two_examples_are_in_each_others_way() -> None:
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in [manifest for name in FILES for manifest in manifests(name)]:
        key = manifest["kind"], manifest["metadata"]["name"]
        # Both EOS examples bring the same template.
        assert found.setdefault(key, manifest) == manifest
        assert found[key] is manifest or manifest["kind"] == "ConfigMap"


def test_the_refresher_understands_the_secret_without_a_login() -> None:
    example = one("robot-token.yaml", "Secret")
    data = {key: Sensitive(text) for key, text in example["stringData"].items()}
    marks = example["metadata"]["annotations"]
    secret = Secret("team-a", "robot-token", annotations=marks, data=data)
    assert is_source(secret)
    source = Source.parse(secret)
    assert source.grant_type is GrantType.CLIENT_CREDENTIALS
    assert source.client.client_id == "my-app"


@pytest.mark.parametrize("name", ["token-printer.yaml", "eos.yaml"])
def test_an_announced_pod_is_admitted_without_a_warning(name: str) -> None:
    injection = inject(one(f"announcement/{name}", "Pod"))
    assert injection.warnings == ()
    assert injection.pod["spec"]["volumes"][-1]["csi"]["driver"] == core_names.DRIVER_NAME


@pytest.mark.parametrize("name", ["eos.yaml", "announcement/eos.yaml"])
def test_the_eos_template_is_the_announced_one_to_the_byte(name: str) -> None:
    config_map = one(name, "ConfigMap")
    assert config_map["metadata"]["name"] == "oauth-token-eos-template"
    assert config_map["data"] == {
        core_names.TEMPLATE_KEY: (
            "oauth2:$(ACCESS_TOKEN):auth.cern.ch/auth/realms/cern/protocol/openid-connect/userinfo"
        )
    }
