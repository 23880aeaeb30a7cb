"""The injection of volumes and mounts into an annotated pod.

The Secret need not exist yet: users may create Secret and pod in any order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csidriver.core.admission import unserved_pods
from csidriver.core.admission.annotation import InjectionEntry, ParsedAnnotation, parse, quoted
from csidriver.core.admission.mount_point import mount_point_warnings
from csidriver.core.admission.pod_fields import (
    Container,
    containers_of,
    effect_of,
    mounts_of,
    object_of,
    objects_of,
    paths_of,
)
from csidriver.core.annotations import TO_INJECT
from csidriver.errors import InvalidAnnotation, InvalidRequest

# kube-apiserver may cut warnings above 256 characters each and 4096 in all.
_LONGEST_WARNING = 256
_MOST_WARNINGS = 16
_MORE_WARNINGS = "further warnings are left out"

# Containers of well-known injectors, most of whose webhooks are called before ours.
_INJECTED = (
    *("istio-proxy", "istio-init", "istio-validation", "enable-core-dump"),
    *("linkerd-proxy", "linkerd-init", "linkerd-network-validator", "linkerd-debug"),
    *("azwi-proxy", "azwi-proxy-init"),  # azure-workload-identity
    *("vault-agent", "vault-agent-init"),
    *("gke-gcsfuse-sidecar", "gke-gcsfuse-metadata-prefetch"),
)

# Every entry is compared with every container, volume and mount. No pod comes near; the API server
# checks a pod only after admission.
_MOST_COMPARED = 50_000
_LONGEST_PATH = 4095  # Linux' PATH_MAX without the byte at the end: no container can have more


@dataclass(frozen=True, slots=True)
class Injection:
    """The changed pod, which shares with the given one what is equal; warnings for its author."""

    pod: dict[str, Any]
    warnings: tuple[str, ...]


def inject(pod: Mapping[str, Any]) -> Injection:
    """Return the pod with the volumes and mounts that its annotation asks for.

    The result of a second call is the same. Raises InvalidAnnotation with all problems, and
    InvalidRequest if this is not a pod.
    """
    result = dict(pod)
    annotations = object_of(object_of(result, "metadata"), "annotations")
    annotation = annotations.get(TO_INJECT)
    if annotation is None:
        return Injection(result, ())
    if not isinstance(annotation, str):
        raise InvalidRequest("pod", [f"annotation {TO_INJECT} is not a string"])
    if unserved_pods.MIRROR in annotations:
        return Injection(result, (unserved_pods.MIRROR_WARNING,))
    if spec := dict(object_of(result, "spec")):
        result["spec"] = spec
    for key in ("containers", "initContainers"):
        if containers := objects_of(spec, key):
            spec[key] = [dict(each) for each in containers]
    return Injection(result, _truncate(_inject(parse(annotation), spec)))


def _inject(parsed: ParsedAnnotation, spec: dict[str, Any]) -> list[str]:
    """Add volumes and mounts to the spec; return the warnings."""
    _refuse_costly(len(parsed.entries) + len(parsed.invalid_entries), spec)
    containers = [Container.read(fields) for fields in containers_of(spec)]
    only = _only(containers, spec)
    unknown = (it for it in parsed.invalid_entries if not (_named(it[1], containers) or only))
    problems = [*parsed.problems, *(_unknown_container(*it, containers) for it in unknown)]
    warnings = list(parsed.warnings)
    if parsed.entries or problems:
        problems += unserved_pods.reasons(spec, unserved_pods.REFUSED)
        warnings += unserved_pods.reasons(spec, unserved_pods.WARNED)
    taken: dict[tuple[Container, int], str] = {}
    for entry in parsed.entries:
        found = _named(entry.container, containers) or _with_mount(entry, containers) or only
        if not found:
            problems.append(_unknown_container(entry.label, entry.container, containers))
            continue
        container = found[0]
        first = taken.setdefault((container, entry.owner), entry.label)
        if first != entry.label:
            where = f"{entry.mount['mountPath']} in container {quoted(container.name)}"
            problems.append(f"{entry.label}: {where} is taken by {first}; remove one of the two")
            continue
        problems += _add_volume_and_mount(entry, spec, container)
        warnings += _warnings(entry, spec, container, containers)
    if problems:
        raise InvalidAnnotation(f"annotation {TO_INJECT}", problems)
    return warnings


def _refuse_costly(entries: int, spec: dict[str, Any]) -> None:
    """Raise InvalidAnnotation for a pod that would keep us busy, before its paths are read."""
    paths = [path for container in containers_of(spec) for path in paths_of(container)]
    problems = []
    compared = entries * (len(containers_of(spec)) + len(objects_of(spec, "volumes")) + len(paths))
    if compared > _MOST_COMPARED:
        problem = f"entries times containers, volumes and mounts of the pod are {compared}"
        problems.append(f"{problem}, at most {_MOST_COMPARED} are allowed")
    if (longest := max(map(len, paths), default=0)) > _LONGEST_PATH:
        problem = f"a mount path of the pod has {longest} characters"
        problems.append(f"{problem}, at most {_LONGEST_PATH} are allowed")
    if problems:
        raise InvalidAnnotation(f"annotation {TO_INJECT}", problems)


def _named(name: str, containers: Sequence[Container]) -> list[Container]:
    return [each for each in containers if each.name == name]


def _with_mount(entry: InjectionEntry, containers: Sequence[Container]) -> list[Container]:
    """Return the containers that have the mount already, injected ones last.

    Another webhook may have added a sidecar since our mount was added, or copied the mount.
    """
    effect = effect_of(entry.mount["mountPath"], entry.mount)
    found = [each for each in containers if effect in each.mounts]
    return sorted(found, key=lambda each: each.name in _INJECTED)


def _only(containers: Sequence[Container], spec: dict[str, Any]) -> Sequence[Container]:
    """Return a list of the pod's only container; it may be empty.

    An unknown name means this one, as in the announced EOS example. Injected containers do not
    count, unless there are no others, as in a gateway of Istio.
    """
    own = [each for each in containers if each.name not in _INJECTED] or containers
    initial = objects_of(spec, "initContainers")
    return own if len(own) == 1 and own[0].fields not in initial else []


def _unknown_container(label: str, name: str, containers: Sequence[Container]) -> str:
    names = ", ".join(quoted(container.name) for container in containers)
    return f"{label}: the pod has no container {quoted(name)}; name one of: {names}"


def _add_volume_and_mount(
    entry: InjectionEntry, spec: dict[str, Any], container: Container
) -> Iterator[str]:
    """Add volume and mount unless they are there; yield what is in their place."""
    volume, mount = entry.volume, entry.mount
    volumes = objects_of(spec, "volumes")
    same_name = [other for other in volumes if other.get("name") == volume["name"]]
    if not any(_includes(other, volume) for other in same_name):
        if same_name:
            yield f"{entry.label}: the pod has another volume {volume['name']}; rename that one"
        spec["volumes"] = [*volumes, volume]
    path = mount["mountPath"]
    if effect_of(path, mount) not in container.mounts:
        if path in container.paths:
            name = quoted(container.name)
            yield f"{entry.label}: container {name} has a mount of its own at {path}; move that one"
        container.fields["volumeMounts"] = [*mounts_of(container.fields), mount]


def _includes(whole: Any, part: Any) -> bool:
    """Return whether this is the part, with whatever other webhooks added to it."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and _includes(whole[key], part[key]) for key in part)
    return bool(whole == part)


def _warnings(
    entry: InjectionEntry,
    spec: dict[str, Any],
    container: Container,
    containers: Sequence[Container],
) -> Iterator[str]:
    if container.name != entry.container:
        yield (
            f"{entry.label}: the pod has no container {quoted(entry.container)}, "
            f"the token goes to {quoted(container.name)}; correct the annotation"
        )
    yield from mount_point_warnings(entry, spec, container, containers)


def _truncate(warnings: list[str]) -> tuple[str, ...]:
    cut = [text[:_LONGEST_WARNING] for text in warnings]
    if len(cut) > _MOST_WARNINGS:
        cut = [*cut[: _MOST_WARNINGS - 1], _MORE_WARNINGS]
    return tuple(cut)
