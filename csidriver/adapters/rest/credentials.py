"""Where the API server is, whom to trust for it, and what shows who we are."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to speak to one API server, https unless it is on this machine.

    PEM texts stand in a file (a Path, read again when it changes) or here. Without `authorities`
    those of the system are trusted. A token in `token_file` comes before `token`.
    """

    server: str
    authorities: Path | Sensitive | None = None
    certificate: Path | Sensitive | None = None
    key: Path | Sensitive | None = None
    token: Sensitive | None = None
    token_file: Path | None = None


def in_cluster(
    environment: Mapping[str, str],
    token_file: Path = SERVICE_ACCOUNT / "token",
    authorities: Path = SERVICE_ACCOUNT / "ca.crt",
) -> Credentials:
    """What kubelet gives a pod with a service account; raises InvalidSettings elsewhere."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    problems = [
        f"{key} is not set"
        for key, value in (("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port))
        if not value
    ]
    problems += [f"{path} is no file" for path in (token_file, authorities) if not path.is_file()]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    if not problems and (fault := server_fault(server)):
        problems.append(f"KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT: {server} {fault}")
    if problems:
        raise InvalidSettings("credentials of a pod", problems)
    return Credentials(server, authorities, token_file=token_file)


def server_fault(server: str) -> str:
    """What makes a URL unfit for an API server, "" if nothing does."""
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is no http or https URL"
    if parts.username is not None or parts.query or parts.fragment:
        return "holds more than a host, a port and a path"
    if parts.scheme == "http" and not _is_loopback(host):
        return "is http and not on this machine; everybody in between could read the tokens"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
