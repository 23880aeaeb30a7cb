"""Parsing, validation and encoding of manifests; errors never quote their content.

A file holds one object. Its author is trusted, as this backend is for development.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from csidriver.adapters.directory.object_key import ObjectKey
from csidriver.errors import StoreRefused

MAX_SIZE = 4 << 20  # bytes; a Secret of 1 MiB in base64, twice, with its annotations

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
        manifest = yaml.load(content, Loader=_Loader)  # noqa: S506 - derived from the safe loader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidManifest(f"{type(error).__name__}{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Not chained: these quote content, too.
        raise InvalidManifest(type(error).__name__) from None
    check(manifest, key)
    metadata: dict[str, Any] = manifest["metadata"]
    return {**manifest, "metadata": metadata | {"namespace": key.namespace}}


def encode(manifest: Mapping[str, Any], key: ObjectKey) -> bytes:
    """Return the bytes to store; raises StoreRefused if they are too many."""
    content: bytes = yaml.dump(dict(manifest), Dumper=_Dumper, width=1 << 30, encoding="utf-8")
    if len(content) > MAX_SIZE:
        raise StoreRefused(f"{key.path} would be larger than {MAX_SIZE} bytes")
    return content


def check(manifest: Any, key: ObjectKey) -> None:
    """Raise InvalidManifest unless the object has this key, and texts where the driver reads."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        raise InvalidManifest("it is not an object with metadata")
    metadata = manifest["metadata"]
    if str(manifest.get("kind")).lower() != key.kind or metadata.get("name") != key.name:
        raise InvalidManifest("its kind or name differs from the file name")
    if metadata.get("namespace", key.namespace) != key.namespace:
        raise InvalidManifest("its namespace differs from the folder")
    if not _is_string_map(metadata.get("annotations")):
        raise InvalidManifest("its annotations are not a map of strings")
    data = (manifest.get(field) for field in ("data", "stringData", "binaryData"))
    if key.kind in {"secret", "configmap"} and not all(map(_is_string_map, data)):
        raise InvalidManifest("its data is not a map of strings")


def _is_string_map(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    )
