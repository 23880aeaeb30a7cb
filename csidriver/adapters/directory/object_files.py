"""Objects in files `<namespace>/<kind>.<name>.yaml`: its own, and what a developer copies there.

A file is replaced at once, and its time of change, in nanoseconds, is its object's version. Every
OSError becomes a StoreUnavailable, as does what is not an object: it may be half of a copy.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from csidriver.adapters.directory import objects
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreRefused, StoreUnavailable
from csidriver.files import FileLock

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class ObjectFiles:
    """Reads and writes objects; a root or namespace that does not exist counts as empty."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, namespace: str, kind: str, name: str) -> Path:
        """Return the file of an object; raises StoreRefused for names that are not valid."""
        if not is_dns1123_label(namespace) or not is_dns1123_subdomain(name):
            raise StoreRefused(f"{namespace!r:.80} or {name!r:.80} is not a valid name")
        return self._root / namespace / f"{kind.lower()}.{name}.yaml"

    def load(self, path: Path) -> dict[str, Any] | None:
        """Return the object in a file as a server has it, with its version, None without a file."""
        with store_errors("read", path):
            try:
                with path.open("rb") as file:
                    found = os.fstat(file.fileno())
                    content = file.read()
            except FileNotFoundError:
                return None
        manifest = _parsed(content, path)
        # What a server adds. A copied manifest has neither.
        uid = str(uuid.uuid5(uuid.NAMESPACE_URL, str(path)))
        metadata = {"namespace": path.parent.name, "uid": uid, **manifest["metadata"]}
        whole = objects.normalize({**manifest, "metadata": metadata})
        return _with_version(whole, _version(found))

    def secret(self, path: Path) -> Secret | None:
        manifest = self.load(path)
        return None if manifest is None else Secret.from_manifest(manifest)

    def version(self, path: Path) -> str:
        """Return the version of the object in a file, "" without a file."""
        with store_errors("read", path):
            try:
                return _version(path.stat())
            except FileNotFoundError:
                return ""

    def secrets(self) -> dict[Path, str]:
        """Return the versions of all Secrets, by file."""
        with store_errors("list", self._root):
            folders = self._root.iterdir() if self._root.exists() else ()
            paths = sorted(path for folder in folders for path in folder.glob("secret.*.yaml"))
        versions = {path: self.version(path) for path in paths}
        return {path: version for path, version in versions.items() if version}

    def store(self, path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object and return it with its version; call with the lock held."""
        with store_errors("write", path):
            path.parent.mkdir(0o700, exist_ok=True)
            draft = path.with_name(".draft")
            draft.touch(0o600)
            content = yaml.dump(dict(manifest), Dumper=_Dumper, width=1 << 30, encoding="utf-8")
            draft.write_bytes(content)
            # The kernel's time of change is the same for all writes of some milliseconds.
            now = time.time_ns()
            os.utime(draft, ns=(now, now))
            draft.replace(path)
        return _with_version(manifest, str(now))

    def unlink(self, path: Path) -> None:
        with store_errors("remove", path):
            path.unlink(missing_ok=True)

    def namespace_uid(self, namespace: str) -> str:
        """Return the uid of a namespace, "" if it has no folder; call with the lock held.

        It is in a file, so that another folder of the same name has another one.
        """
        file = self._root / namespace / ".uid"
        with store_errors("read", file), suppress(FileNotFoundError):
            if not file.exists():
                file.write_text(str(uuid.uuid4()), encoding="ascii")
            return file.read_text(encoding="ascii")
        return ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out all other writers, also those of other processes; creates the root."""
        lock = FileLock(self._root / ".lock")
        with store_errors("lock", self._root):
            self._root.mkdir(0o700, parents=True, exist_ok=True)
            lock.acquire(wait=True)
        try:
            yield
        finally:
            lock.release()


@contextmanager
def store_errors(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot {action} {path}: {error.strerror}") from error


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = yaml.load(content, _Loader)  # noqa: S506
    except yaml.YAMLError:
        manifest = None
    if not isinstance(manifest, dict) or not {"kind", "metadata"} <= manifest.keys():
        raise StoreUnavailable(f"cannot read {path}: it is not an object in YAML")
    return manifest


def _version(status: os.stat_result) -> str:
    return str(status.st_mtime_ns)


def _with_version(manifest: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {**manifest, "metadata": manifest["metadata"] | {"resourceVersion": version}}
