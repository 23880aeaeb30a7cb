"""Where brokers are, how they are verified, and the token that a node presents to them.

Kubelet replaces the files; they are read again for each connection.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreUnavailable

_OPTIONS = {
    # Each stream has a connection of its own, whatever the environment says.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    # A host that has vanished is noticed within 15 seconds, while connecting within 5.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.http2.max_pings_without_data": 0,
}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The brokers of a headless Service, whose name is that in their certificates, too."""

    host: str
    port: int
    authorities: Path
    token: Path

    def resolve(self) -> frozenset[str]:
        """Return the addresses of all brokers, none if the name cannot be resolved."""
        try:
            found: Any = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return frozenset()
        return frozenset(
            f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
            for *_, (host, port, *_) in found
        )

    def connect(self, target: str) -> Any:
        """Return a new channel to a broker; raises StoreUnavailable without a CA."""
        text = _read(self.authorities, "CAs of the broker")
        credentials = grpc.ssl_channel_credentials(text.encode())
        options = {**_OPTIONS, "grpc.ssl_target_name_override": self.host}
        return grpc.secure_channel(target, credentials, list(options.items()))

    def read_token(self) -> Sensitive:
        """Return the plugin's token; raises StoreUnavailable."""
        return Sensitive(_read(self.token, "token of the node plugin").strip())


def _read(file: Path, subject: str) -> str:
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, ValueError):
        text = ""
    if not text:
        raise StoreUnavailable(f"{file}: the {subject} cannot be read")
    return text
