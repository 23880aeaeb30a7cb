"""A backend without Kubernetes: YAML manifests in a folder, one folder per namespace."""

from csidriver.adapters.directory.file_lock import FileLock
from csidriver.adapters.directory.store import DirectoryStore

__all__ = ["DirectoryStore", "FileLock"]
