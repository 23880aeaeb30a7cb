"""What the operator decides about a node plugin."""

from dataclasses import dataclass
from pathlib import Path

from csidriver.core.contract import DRIVER_NAME


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Paths are the same on the host and in the container.

    `publish_wait` in seconds, `size` of the token file system in bytes.
    """

    kubelet_dir: Path
    node_id: str
    view: Path
    tokens_namespace: str
    publish_wait: float = 10.0
    size: int = 64 << 20
    inodes: int = 16384
    selinux_context: str = ""

    @property
    def plugin_dir(self) -> Path:
        """Our folder among kubelet's plugins."""
        return self.kubelet_dir / "plugins" / DRIVER_NAME
