"""The volumes of pods that mount tokens; the webhook's are the same as those of users."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from csidriver.core.names import DRIVER_NAME, SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.tokens import records

_DEFAULT_FILE = "token"
_ENDED = ("Succeeded", "Failed")
# Fields of a record: the type of an event, the volume's, and the mounts.
_WIDTH = 9


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of our driver in a pod. `mounts` are containers with the path of the token file."""

    token: SourceRef
    pod: str
    volume: str
    phase: str
    node: str
    file: str
    mounts: tuple[tuple[str, str], ...]

    @property
    def has_ended(self) -> bool:
        """Return whether no container of the pod runs any more, or will."""
        return self.phase in _ENDED

    @property
    def paths(self) -> list[str]:
        """Paths of the token file in containers, each once."""
        return list(dict.fromkeys(path for _, path in self.mounts))


def read_pod_volumes(kubectl: Kubectl, *where: str) -> list[PodVolume]:
    """Return the volumes in a namespace, or in all (`--all-namespaces`)."""
    output = kubectl.get_text("pods", *where, records.option(records.of_each(_template())))
    return [_volume(fields[1:]) for fields in records.parse_records(output.splitlines(), _WIDTH)]


def watch_pod_volumes(kubectl: Kubectl, *where: str) -> Iterator[tuple[str, PodVolume]]:
    """Yield the type of each event of a pod with each of its volumes."""
    template = records.of_event(_template("$type"))
    with closing(kubectl.watch_text("pods", *where, records.option(template))) as lines:
        for kind, *fields in records.parse_records(lines, _WIDTH):
            yield str(kind), _volume(fields)


def _template(kind: str = '""') -> str:
    attributes = "(or .volumeAttributes $pod.metadata)"
    fields = [
        *(kind, "$pod.metadata.namespace", "$pod.metadata.name", "$volume.name"),
        *("$pod.status.phase", "$pod.spec.nodeName"),
        *(f'(index {attributes} "{key}")' for key in ("secretName", "fileName")),
    ]
    mount = [records.quoted(f) for f in ("$container.name", ".mountPath", ".subPath")]
    mounts = (
        "[{{range $container := $pod.spec.containers}}{{range .volumeMounts}}"
        "{{if eq .name $volume.name}}[" + ",".join(mount) + "],{{end}}{{end}}{{end}}]"
    )
    line = records.record([*map(records.quoted, fields), mounts])
    return (
        "{{$pod := .}}{{range $volume := .spec.volumes}}{{with .csi}}"
        f'{{{{if eq .driver "{DRIVER_NAME}"}}}}{line}{{{{end}}}}{{{{end}}}}{{{{end}}}}'
    )


def _volume(fields: Sequence[Any]) -> PodVolume:
    namespace, pod, volume, phase, node, secret, file, mounts = fields
    name = file or _DEFAULT_FILE
    found = [(str(container), _path(path, sub, name)) for container, path, sub in mounts]
    token = SourceRef(str(namespace), str(secret))
    return PodVolume(token, str(pod), str(volume), str(phase), str(node), str(name), tuple(found))


def _path(folder: str, sub_path: str, file: str) -> str:
    """Return where the file is: a mount with subPath is the file itself."""
    return folder if sub_path else f"{folder.rstrip('/')}/{file}"
