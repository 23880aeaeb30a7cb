"""A kubeconfig, Secrets and Status objects that tests send and receive."""

import json
from pathlib import Path
from typing import Any

from csidriver.adapters.kubernetes import Timeouts
from csidriver.core.annotations import IS_TOKEN
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from tests.adapters.kubernetes.scripted import Says

NEEDLE = "needle-that-nobody-may-see"
TOKEN = "tok-needle-that-nobody-may-see"
QUICK = Timeouts(
    2.0, 5.0, watch=(5, 5), watch_silence=5.0, watch_retry=0.01, refused_retry=0.05, poll=0.02
)
REF = SourceRef("alice", "token")
BASE = Secret("alice", "token", uid="u1", resource_version="7")
PATCH = SecretPatch(data={"oauth": Sensitive(NEEDLE)})


def config(folder: Path, url: str, **user: Any) -> Path:
    path = folder / "kubeconfig"
    cluster = {"server": url}
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "me", "user": user or {"token": TOKEN}}],
            }
        ),
        encoding="ascii",
    )
    return path


def manifest(version: str = "8", **metadata: Any) -> dict[str, Any]:
    known = {"namespace": "alice", "name": "token", "resourceVersion": version}
    return {"kind": "Secret", "metadata": {**known, **metadata}, "data": {"oauth": "cjE="}}


def source(version: str = "8", name: str = "token", **metadata: Any) -> dict[str, Any]:
    return manifest(version, name=name, annotations={IS_TOKEN: "true"}, **metadata)


def status(code: int, reason: str = "", message: str = "", **details: str) -> Says:
    told = {"kind": "Status", "reason": reason, "message": message + NEEDLE, "details": details}
    return Says(told, code)
