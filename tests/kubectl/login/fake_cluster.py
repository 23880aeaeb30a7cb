"""A cluster in memory behind the interface of `Kubectl`, with a refresher that a test scripts."""

import base64
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from csidriver.core import annotations
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import AlreadyExists, Conflict, Forbidden, NotFound

NAMESPACE = "physics"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def source(
    *, notes: Mapping[str, str] | None = None, data: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A source of client `cli`; `notes` changes its annotations."""
    values = {"oauth": '{"refresh_token": "rt-0"}', "clientID": "cli"} if data is None else data
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "hello",
            "namespace": NAMESPACE,
            "uid": "uid-1",
            "resourceVersion": "1",
            "annotations": {annotations.IS_TOKEN: "true", **(notes or {})},
        },
        "data": {key: encode(text) for key, text in values.items()},
    }


class FakeKubectl(Kubectl):
    """Keeps objects by kind and name; `refused` are verbs that the user may not use.

    `policy` is why the cluster takes no new Secret.
    """

    def __init__(self, *issuers: Mapping[str, Any]) -> None:
        super().__init__([f"--namespace={NAMESPACE}"])
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.refused: set[str] = set()
        self.writes: list[tuple[str, Any]] = []
        self.tried: list[Mapping[str, Any]] = []
        self.policy = ""
        self.after_write: Callable[[], None] = lambda: None
        self.before_patch: Callable[[], None] = lambda: None
        if issuers:
            data = {"issuers.json": json.dumps({"issuers": list(issuers)})}
            self.objects["configmap", "oauth2-csi-issuers-public"] = {"data": data}

    def put(self, manifest: dict[str, Any]) -> None:
        self.objects["secret", manifest["metadata"]["name"]] = manifest

    def secret(self) -> dict[str, Any]:
        return self.objects["secret", "hello"]

    def decoded(self) -> dict[str, str]:
        data = self.secret()["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def annotate(self, **values: str) -> None:
        """Write what a refresher would."""
        notes = {f"{annotations.PREFIX}{k.replace('_', '-')}": v for k, v in values.items()}
        metadata = self.secret()["metadata"]
        metadata["annotations"].update(notes)
        metadata["resourceVersion"] = f"{metadata.get('resourceVersion', '')}1"

    def get(self, *arguments: str) -> Any:
        kind, name = arguments[:2]
        if (kind, name) not in self.objects:
            raise NotFound(f'{kind}s "{name}" not found')
        return copy.deepcopy(self.objects[kind, name])

    def get_text(self, *arguments: str) -> str:
        if arguments[0].startswith("namespace/"):
            return arguments[0]
        notes = self.get(*arguments)["metadata"]["annotations"]
        keys = ("status", "refreshed-at", "expires-at", "message")
        return "\n".join(notes.get(annotations.PREFIX + key, "") for key in keys) + "\n"

    def create(self, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        self.writes.append(("create", manifest))
        if ("secret", name) in self.objects:
            raise AlreadyExists(f'secrets "{name}" already exists')
        self.put(copy.deepcopy(dict(manifest)))
        self.after_write()

    def try_create(self, manifest: Mapping[str, Any]) -> None:
        self.tried.append(manifest)
        if self.policy:
            raise Forbidden(self.policy)

    def patch(self, resource: str, name: str, namespace: str, patch: Mapping[str, Any]) -> None:
        assert (resource, namespace) == ("secret", NAMESPACE)
        self.before_patch()
        self.writes.append(("patch", patch))
        if ("secret", name) not in self.objects:
            raise NotFound(f'secrets "{name}" not found')
        found = self.secret()
        if patch["metadata"]["uid"] != found["metadata"]["uid"]:
            raise Conflict("Precondition failed: UID in precondition")
        version = found["metadata"].get("resourceVersion", "")
        if patch["metadata"]["resourceVersion"] != version:
            raise Conflict("the object has been modified")
        found["data"].update(patch["data"])
        found["metadata"]["annotations"].update(patch["metadata"].get("annotations", {}))
        self.after_write()

    def can_i(self, verb: str, resource: str, namespace: str, *_: str) -> bool:
        assert (resource.partition("/")[0], namespace) == ("secrets", NAMESPACE)
        return verb not in self.refused
