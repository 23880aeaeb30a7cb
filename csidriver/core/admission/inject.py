"""The injection of volumes and mounts into an annotated pod.

The Secret need not exist yet: users may create Secret and pod in any order.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from csidriver.core.admission import unserved_pods
from csidriver.core.admission.annotation import InjectionEntry, ParsedAnnotation, parse, quoted
from csidriver.core.admission.mount_point import mount_point_warnings
from csidriver.core.admission.pod_fields import (
    containers_of,
    mounts_of,
    object_of,
    objects_of,
    path_of,
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


@dataclass(frozen=True, slots=True)
class Injection:
    """The changed pod, and warnings for its author."""

    pod: dict[str, Any]
    warnings: tuple[str, ...]


def inject(pod: Mapping[str, Any]) -> Injection:
    """Return a copy of the pod with the volumes and mounts that its annotation asks for.

    The result of a second call is the same. Raises InvalidAnnotation with all problems, and
    InvalidRequest if this is not a pod.
    """
    result = copy.deepcopy(dict(pod))
    annotations = object_of(object_of(result, "metadata"), "annotations")
    annotation = annotations.get(TO_INJECT)
    if annotation is None:
        return Injection(result, ())
    if not isinstance(annotation, str):
        raise InvalidRequest("pod", [f"annotation {TO_INJECT} is not a string"])
    if unserved_pods.MIRROR in annotations:
        return Injection(result, (unserved_pods.MIRROR_WARNING,))
    return Injection(result, _truncate(_inject(parse(annotation), object_of(result, "spec"))))


def _inject(parsed: ParsedAnnotation, spec: dict[str, Any]) -> list[str]:
    """Add volumes and mounts to the spec; return the warnings."""
    count = len(parsed.entries) + len(parsed.invalid_entries)
    if (compared := count * _complexity(spec)) > _MOST_COMPARED:
        problem = f"entries times containers, volumes and mounts of the pod are {compared}"
        limit = f"{_MOST_COMPARED} are allowed"
        raise InvalidAnnotation(f"annotation {TO_INJECT}", [f"{problem}, at most {limit}"])
    unknown = (it for it in parsed.invalid_entries if not (_named(it[1], spec) or _only(spec)))
    problems = [*parsed.problems, *(_unknown_container(*it, spec) for it in unknown)]
    warnings = list(parsed.warnings)
    if parsed.entries or problems:
        problems += unserved_pods.reasons(spec, unserved_pods.REFUSED)
        warnings += unserved_pods.reasons(spec, unserved_pods.WARNED)
    taken: dict[tuple[int, int], str] = {}
    # All containers are chosen before the first mount is added, because the choice reads mounts.
    for entry, container in [(entry, _target_container(entry, spec)) for entry in parsed.entries]:
        if container is None:
            problems.append(_unknown_container(entry.label, entry.container, spec))
            continue
        first = taken.setdefault((id(container), entry.owner), entry.label)
        if first != entry.label:
            where = f"{entry.mount['mountPath']} in container {quoted(container.get('name'))}"
            problems.append(f"{entry.label}: {where} is taken by {first}; remove one of the two")
            continue
        problems += _add_volume_and_mount(entry, spec, container)
        warnings += _warnings(entry, spec, container)
    if problems:
        raise InvalidAnnotation(f"annotation {TO_INJECT}", problems)
    return warnings


def _target_container(entry: InjectionEntry, spec: dict[str, Any]) -> dict[str, Any] | None:
    """Return the container of an entry.

    An unknown name means the only container of the pod, as in the announced EOS example, even if
    another webhook has added a sidecar since our mount was added, or copied the mount.
    """
    mount = _effect(entry.mount)
    have_it = [each for each in containers_of(spec) if mount in map(_effect, mounts_of(each))]
    candidates = _named(entry.container, spec) or sorted(have_it, key=_is_injected) or _only(spec)
    return next(iter(candidates), None)


def _named(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for container in containers_of(spec) if container.get("name") == name]


def _only(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a list of the pod's only container; it may be empty.

    Injected containers do not count, unless there are no others, as in a gateway of Istio.
    """
    containers = containers_of(spec)
    own = [each for each in containers if not _is_injected(each)] or containers
    return own if len(own) == 1 and own[0] not in objects_of(spec, "initContainers") else []


def _is_injected(container: dict[str, Any]) -> bool:
    return container.get("name") in _INJECTED


def _unknown_container(label: str, name: str, spec: dict[str, Any]) -> str:
    names = ", ".join(quoted(container.get("name")) for container in containers_of(spec))
    return f"{label}: the pod has no container {quoted(name)}; name one of: {names}"


def _add_volume_and_mount(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    """Add volume and mount unless they are there; yield what is in their place."""
    volume, mount = entry.volume, entry.mount
    volumes, mounts = objects_of(spec, "volumes"), mounts_of(container)
    if not any(_includes(other, volume) for other in volumes):
        if any(other.get("name") == volume["name"] for other in volumes):
            yield f"{entry.label}: the pod has another volume {volume['name']}; rename that one"
        spec["volumes"] = [*volumes, volume]
    if _effect(mount) not in map(_effect, mounts):
        if (path := mount["mountPath"]) in paths_of(container):
            name = quoted(container.get("name"))
            yield f"{entry.label}: container {name} has a mount of its own at {path}; move that one"
        container["volumeMounts"] = [*mounts, mount]


def _includes(whole: Any, part: Any) -> bool:
    """Return whether this is the part, with whatever other webhooks added to it."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and _includes(whole[key], part[key]) for key in part)
    return bool(whole == part)


def _effect(mount: dict[str, Any]) -> tuple[str, Any, Any]:
    """Return what tells our mounts from others; read-only they are by their volume as well."""
    return path_of(mount), mount.get("name"), mount.get("subPath")


def _warnings(
    entry: InjectionEntry, spec: dict[str, Any], container: dict[str, Any]
) -> Iterator[str]:
    name = quoted(container.get("name"))
    if container.get("name") != entry.container:
        yield (
            f"{entry.label}: the pod has no container {quoted(entry.container)}, "
            f"the token goes to {name}; correct the annotation"
        )
    yield from mount_point_warnings(entry, spec, container)


def _truncate(warnings: list[str]) -> tuple[str, ...]:
    cut = [text[:_LONGEST_WARNING] for text in warnings]
    if len(cut) > _MOST_WARNINGS:
        cut = [*cut[: _MOST_WARNINGS - 1], _MORE_WARNINGS]
    return tuple(cut)


def _complexity(spec: dict[str, Any]) -> int:
    containers, volumes = containers_of(spec), objects_of(spec, "volumes")
    return len(containers) + len(volumes) + sum(len(paths_of(each)) for each in containers)
