"""Watches that poll: only files whose version has changed are read again."""

import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from csidriver.adapters.directory.object_files import ObjectFiles
from csidriver.core import annotations, names
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef


def to_change(secret: Secret, namespaces: Namespaces) -> SecretChange | None:
    """Return the change that a Secret stands for, None if it is not one of a token."""
    version, known = secret.resource_version, secret.annotations
    watched = not namespaces.sources or secret.namespace in namespaces.sources
    if watched and known.get(annotations.IS_TOKEN) == "true":
        by_driver = secret.manager == names.FIELD_MANAGER
        ref = SourceRef(secret.namespace, secret.name)
        return SecretChange(ref, TokenObject.SOURCE, version, by_driver, secret.uid)
    ref = SourceRef(
        known.get(annotations.SOURCE_NAMESPACE, ""), known.get(annotations.SOURCE_NAME, "")
    )
    if (secret.namespace, secret.type) == (namespaces.driver, annotations.GRANT_SECRET_TYPE):
        expected, token_object = ref.grant, TokenObject.GRANT
    elif (secret.namespace, secret.type) == (namespaces.tokens, annotations.COMPANION_SECRET_TYPE):
        expected, token_object = ref.companion, TokenObject.COMPANION
    else:
        return None
    return SecretChange(ref, token_object, version) if secret.name == expected else None


def watch_changes(
    files: ObjectFiles, namespaces: Namespaces, stop: threading.Event, *, poll: float
) -> Generator[SecretChange | None, None, None]:
    """Yield all objects, None, then every change, until `stop`; polls every `poll` seconds."""
    secrets: dict[Path, Secret] = {}
    known: dict[tuple[TokenObject, SourceRef], SecretChange] = {}
    first = True
    while not stop.is_set():
        secrets = _read_changed(files, secrets)
        found = [to_change(secret, namespaces) for secret in secrets.values()]
        now = {(change.token_object, change.ref): change for change in found if change is not None}
        yield from (change for key, change in now.items() if known.get(key) != change)
        deleted = known.keys() - now.keys()
        yield from (SecretChange(ref, token_object, "") for token_object, ref in deleted)
        if first:
            yield None
        known, first = now, False
        stop.wait(poll)


def watch_secret(
    files: ObjectFiles, path: Path, stop: threading.Event, *, poll: float
) -> Iterator[Secret | None]:
    """Yield one Secret (None while it does not exist), then every change of it, until `stop`."""
    version: str | None = None
    while not stop.is_set():
        if files.version(path) != version:
            secret = files.secret(path)
            version = "" if secret is None else secret.resource_version
            yield secret
        stop.wait(poll)


def _read_changed(files: ObjectFiles, before: dict[Path, Secret]) -> dict[Path, Secret]:
    secrets = {}
    for path, version in files.secrets().items():
        secret: Secret | None = before.get(path)
        if secret is None or secret.resource_version != version:
            secret = files.secret(path)
        if secret is not None:
            secrets[path] = secret
    return secrets
