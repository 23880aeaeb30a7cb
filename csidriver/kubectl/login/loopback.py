"""Addresses of this machine, to which a browser may bring the answer (RFC 8252 section 7.3)."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from csidriver.kubectl.errors import LoginFailed

# Registered for many clients of command lines; then any free one.
PORTS = (8000, 18000, 0)
DEFAULT_REDIRECT = "http://127.0.0.1/callback"


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Redirect:
    """The address to which the browser brings the answer, but for the port."""

    host: str
    path: str
    ports: tuple[int, ...] = PORTS

    @classmethod
    def parse(cls, url: str) -> "Redirect":
        """Parse --redirect-url; raise LoginFailed. A port in it is the only one."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
            parts = urlsplit("")
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme != "http" or not is_loopback(host) or not plain:
            raise LoginFailed(
                "--redirect-url must be an http address of this machine, as http://localhost:8000"
            )
        return cls(host, parts.path, PORTS if port is None else (port,))

    @property
    def bind_address(self) -> str:
        """The address to listen on."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    def uri(self, port: int) -> str:
        """Return the redirect URI with a port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{self.path}"
