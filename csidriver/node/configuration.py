"""What the operator decides about a node plugin, and where its parts lie."""

from dataclasses import dataclass
from pathlib import Path

from csidriver.core.names import DRIVER_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFolders:
    """Where the plugin works on a node. Paths are the same on the host and in the container."""

    kubelet_dir: Path
    view: Path

    @property
    def plugin_dir(self) -> Path:
        """Our folder among kubelet's plugins."""
        return self.kubelet_dir / "plugins" / DRIVER_NAME

    @property
    def socket(self) -> Path:
        """Where CSI is served."""
        return self.plugin_dir / "csi.sock"

    @property
    def registration_socket(self) -> Path:
        """Where kubelet finds the plugin."""
        return self.kubelet_dir / "plugins_registry" / f"{DRIVER_NAME}-reg.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings(NodeFolders):
    """A running plugin: `publish_wait` in seconds, `size` of the token file system in bytes."""

    node_id: str
    tokens_namespace: str
    publish_wait: float = 10.0
    size: int = 64 << 20
    inodes: int = 16384
    selinux_context: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupSettings(NodeFolders):
    """A plugin to remove; `force`: from pods that use it, too."""

    force: bool = False
