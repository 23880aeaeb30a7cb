"""Parsing, validation and encoding of manifests; errors never quote their content.

YAML is read as Kubernetes reads it: the values of JSON, one object per file. Aliases and tags are
rejected before anything is built from them, so that no small file expands to gigabytes.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import FIELD_MANAGER
from csidriver.errors import StoreRefused

MAX_SIZE = 4 << 20  # bytes; a Secret of 1 MiB in base64, twice, with its annotations
_MAX_DEPTH = 64  # real manifests nest less deeply

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_FastLoader):  # type: ignore[misc]
    """The safe loader, but an unquoted timestamp is a string, as for Kubernetes."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the loader's own protocol
        first: [(tag, regexp) for tag, regexp in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in _FastLoader.yaml_implicit_resolvers.items()
    }


class InvalidManifest(Exception):
    """A file that counts as absent; the text tells why and is safe to log."""


def version(content: bytes) -> str:
    """Return the resourceVersion of an object that is stored as these bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def decode(content: bytes, key: ObjectKey) -> dict[str, Any]:
    """Return the object of a file, whose key must be `key`; raises InvalidManifest."""
    try:
        text = content.decode()
        _reject_aliases_and_tags(text)
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from the safe loader
        manifest: dict[str, Any] = _as_json(loaded)
    except yaml.MarkedYAMLError as error:
        raise InvalidManifest(f"{type(error).__name__}{_line(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        # Not chained: these quote content, too.
        raise InvalidManifest(type(error).__name__) from None
    check(manifest, key)
    metadata: dict[str, Any] = manifest["metadata"]
    return manifest | {"metadata": metadata | {"namespace": key.namespace}}


def encode(manifest: Mapping[str, Any], key: ObjectKey) -> bytes:
    """Return the bytes to store; raises StoreRefused if they would not decode to the same."""
    try:
        text: str = yaml.dump(dict(manifest), Dumper=_Dumper, width=1 << 30)
        content = text.encode()
        faithful = len(content) <= MAX_SIZE and decode(content, key) == manifest
    except InvalidManifest as error:
        raise StoreRefused(f"{key.path} would not be valid: {error}") from None
    except (UnicodeError, RecursionError):
        raise StoreRefused(f"{key.path} would not be UTF-8, or nested too deeply") from None
    if not faithful:
        raise StoreRefused(f"{key.path} would be too large, or would not decode to the same")
    return content


def validated(manifest: Mapping[str, Any], namespace: str) -> tuple[dict[str, Any], ObjectKey]:
    """Return a deep copy of a user's manifest, and its key; raises StoreRefused."""
    try:
        copy = _as_json(dict(manifest))
    except (ValueError, TypeError, RecursionError):
        raise StoreRefused("the manifest cannot be written as JSON") from None
    metadata = copy.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    key = ObjectKey.of(namespace, copy.get("kind"), name)
    try:
        check(copy, key)
    except InvalidManifest as error:
        raise StoreRefused(f"{key.path} is not valid: {error}") from None
    return copy, key


def check(manifest: Any, key: ObjectKey) -> None:
    """Raise InvalidManifest unless the fields that are used here have their types and `key`."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        raise InvalidManifest("it is not an object with metadata")
    metadata = manifest["metadata"]
    if str(manifest.get("kind")).lower() != key.kind or metadata.get("name") != key.name:
        raise InvalidManifest("its kind or name differs from the file name")
    if metadata.get("namespace", key.namespace) != key.namespace:
        raise InvalidManifest("its namespace differs from the folder")
    if not all(isinstance(metadata.get(field, ""), str) for field in ("uid", "creationTimestamp")):
        raise InvalidManifest("its uid or creationTimestamp is not a string")
    entries = metadata.get("managedFields", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidManifest("its managedFields are not a list of objects")
    if not all(_is_string_map(metadata.get(field)) for field in ("annotations", "labels")):
        raise InvalidManifest("its annotations or labels are not a map of strings")
    if key.kind in {"secret", "configmap"}:
        _check_content(manifest)


def to_secret(manifest: Mapping[str, Any], key: ObjectKey, resource_version: str) -> Secret:
    metadata = manifest["metadata"]
    own = {"uid": metadata.get("uid") or key.uid, "resourceVersion": resource_version}
    return Secret.from_manifest({**manifest, "metadata": metadata | own})


def is_written_by_driver(manifest: Mapping[str, Any]) -> bool:
    entries = manifest["metadata"].get("managedFields", [])
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def _as_json(value: Any) -> Any:
    # To bytes and back, because a lone surrogate fails only when it is encoded.
    return json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _check_content(manifest: Mapping[str, Any]) -> None:
    if not all(_is_string_map(manifest.get(key)) for key in ("data", "stringData", "binaryData")):
        raise InvalidManifest("its data is not a map of strings")
    if not isinstance(manifest.get("type", ""), str):
        raise InvalidManifest("its type is not a string")
    if not isinstance(manifest.get("immutable", False), bool):
        raise InvalidManifest("its immutable is neither true nor false")


def _is_string_map(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    )


def _reject_aliases_and_tags(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise InvalidManifest(f"alias or tag{_line(event.start_mark)}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise InvalidManifest(f"nested too deeply{_line(event.start_mark)}")


def _line(mark: Any) -> str:
    return "" if mark is None else f" in line {mark.line + 1}"
