"""What helm makes of the chart with some values, and what the roles make of that."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from csidriver import cli, flags, server_flags
from tests.cluster.installation import Manifest
from tools.manifests import template
from tools.programs import program

ROLES = ("node", "refresher", "broker", "webhook")
WORKLOADS = ("DaemonSet", "Deployment")


def rendered(*sets: str, values: Mapping[str, Any] | None = None) -> list[Manifest]:
    return parsed(text_of(*sets, values=values))


def parsed(text: str) -> list[Manifest]:
    return [found for found in yaml.safe_load_all(text) if found]


def text_of(*sets: str, values: Mapping[str, Any] | None = None) -> str:
    """Render with `--set` and with a file of values."""
    chosen = [flag for value in sets for flag in ("--set", value)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values or {}, file)
        file.flush()
        return template(program("helm"), *chosen, "--values", file.name)


def of_kind(found: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in found if manifest["kind"] in kinds]


def named(found: list[Manifest], kind: str, name: str) -> Manifest:
    (manifest,) = [m for m in of_kind(found, kind) if m["metadata"]["name"] == name]
    return manifest


def workload(found: list[Manifest], role: str) -> Manifest:
    (manifest,) = [
        m for m in of_kind(found, *WORKLOADS) if m["metadata"]["name"] == f"oauth2-csi-{role}"
    ]
    return manifest


def pod_of(found: list[Manifest], role: str) -> dict[str, Any]:
    pod: dict[str, Any] = workload(found, role)["spec"]["template"]["spec"]
    return pod


def container_of(found: list[Manifest], role: str) -> dict[str, Any]:
    (container,) = pod_of(found, role)["containers"]
    assert isinstance(container, dict)
    return container


def flags_of(container: dict[str, Any]) -> argparse.Namespace:
    """The arguments of a container, as the command itself reads them."""
    return cli._parser().parse_args(cli._joined(container["args"]))


def settings_of(found: list[Manifest], role: str) -> tuple[argparse.Namespace, Any]:
    """The arguments of a role as it reads them, and its settings."""
    args = flags_of(container_of(found, role))
    flags.common_settings(args)
    read = {
        "node": flags.node_settings,
        "refresher": flags.refresher_settings,
        "broker": server_flags.broker_settings,
        "webhook": server_flags.webhook_settings,
    }
    return args, read[role](args)


def leaves_and_sections(
    values: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The path of every key, of those with keys of their own, too."""
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from leaves_and_sections(value, (*above, key))
