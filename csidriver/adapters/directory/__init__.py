"""A backend without Kubernetes: YAML manifests in a folder, one folder per namespace."""

from csidriver.adapters.directory.leader_lock import FolderLock
from csidriver.adapters.directory.store import DirectoryStore

__all__ = ["DirectoryStore", "FolderLock"]
