"""Manifests between their bytes and their use; the texts of errors here never quote content.

YAML is read as Kubernetes reads it: what JSON can say, one object per file. Aliases and tags are
turned away before anything is built from them, so neither a small file that stands for gigabytes
nor one nested without end gets as far as memory.
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
_MAX_DEPTH = 64  # no manifest that means something nests deeper

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_FastLoader):  # type: ignore[misc]
    """The safe loader, to which an unquoted instant is a text, as it is to Kubernetes."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the loader's own protocol
        first: [(tag, regexp) for tag, regexp in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in _FastLoader.yaml_implicit_resolvers.items()
    }


class InvalidManifest(Exception):
    """A file that counts as absent, and why; safe to log."""


def version(content: bytes) -> str:
    """First 16 hex digits of SHA-256: the resourceVersion of an object stored as these bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def decode(content: bytes, slot: ObjectKey) -> dict[str, Any]:
    """The object of a file, proven to belong in `slot`; raises Unfit."""
    try:
        text = content.decode()
        _reject_aliases_and_tags(text)
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from the safe loader
        manifest: dict[str, Any] = _as_json(loaded)
    except yaml.MarkedYAMLError as error:
        raise InvalidManifest(f"{type(error).__name__}{_line(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        # Not chained: these, too, quote what they choke on.
        raise InvalidManifest(type(error).__name__) from None
    check(manifest, slot)
    metadata: dict[str, Any] = manifest["metadata"]
    return manifest | {"metadata": metadata | {"namespace": slot.namespace}}


def encode(manifest: Mapping[str, Any], slot: ObjectKey) -> bytes:
    """The bytes to store; raises StoreRefused for what could not be read back as it is."""
    try:
        text: str = yaml.dump(dict(manifest), Dumper=_Dumper, width=1 << 30)
        content = text.encode()
        faithful = len(content) <= MAX_SIZE and decode(content, slot) == manifest
    except InvalidManifest as unfit:
        raise StoreRefused(f"{slot.path} would not be valid: {unfit}") from None
    except (UnicodeError, RecursionError):
        raise StoreRefused(f"{slot.path} would be no text, or nested too deeply") from None
    if not faithful:
        raise StoreRefused(f"{slot.path} would be too large, or not read back as it is")
    return content


def validated(manifest: Mapping[str, Any], namespace: str) -> tuple[dict[str, Any], ObjectKey]:
    """A deep copy of a person's manifest, and its slot; raises StoreRefused if it is not fit."""
    try:
        copy = _as_json(dict(manifest))
    except (ValueError, TypeError, RecursionError):
        raise StoreRefused("the manifest cannot be written as JSON") from None
    metadata = copy.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    slot = ObjectKey.of(namespace, copy.get("kind"), name)
    try:
        check(copy, slot)
    except InvalidManifest as unfit:
        raise StoreRefused(f"{slot.path} is not valid: {unfit}") from None
    return copy, slot


def check(manifest: Any, slot: ObjectKey) -> None:
    """Raises Unfit unless the fields that anybody here reads have their types and fit `slot`."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        raise InvalidManifest("it holds no object with metadata")
    metadata = manifest["metadata"]
    if str(manifest.get("kind")).lower() != slot.kind or metadata.get("name") != slot.name:
        raise InvalidManifest("its kind or name is not that of the file name")
    if metadata.get("namespace", slot.namespace) != slot.namespace:
        raise InvalidManifest("its namespace is not that of the folder")
    if not all(isinstance(metadata.get(key, ""), str) for key in ("uid", "creationTimestamp")):
        raise InvalidManifest("its uid or creationTimestamp is no text")
    entries = metadata.get("managedFields", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidManifest("its managedFields are no list of objects")
    if not all(_is_string_map(metadata.get(key)) for key in ("annotations", "labels")):
        raise InvalidManifest("its annotations or labels are no map of texts")
    if slot.kind in {"secret", "configmap"}:
        _check_content(manifest)


def to_secret(manifest: Mapping[str, Any], slot: ObjectKey, resource_version: str) -> Secret:
    """A stored Secret as the driver sees it."""
    metadata = manifest["metadata"]
    own = {"uid": metadata.get("uid") or slot.uid, "resourceVersion": resource_version}
    return Secret.from_manifest({**manifest, "metadata": metadata | own})


def is_written_by_driver(manifest: Mapping[str, Any]) -> bool:
    """Whether we are among those who wrote this object."""
    entries = manifest["metadata"].get("managedFields", [])
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def _as_json(value: Any) -> Any:
    # To bytes and back: a lone surrogate passes for text until somebody has to encode it.
    return json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _check_content(manifest: Mapping[str, Any]) -> None:
    if not all(_is_string_map(manifest.get(key)) for key in ("data", "stringData", "binaryData")):
        raise InvalidManifest("its data is no map of texts")
    if not isinstance(manifest.get("type", ""), str):
        raise InvalidManifest("its type is no text")
    if not isinstance(manifest.get("immutable", False), bool):
        raise InvalidManifest("its immutable is neither true nor false")


def _is_string_map(value: Any) -> bool:
    """Whether this is a map of texts, or absent."""
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
