"""Where the API server is and what shows who we are, as the `kubernetes` package finds it.

No foreign exception leaves: those of the package quote files.
"""

import ipaddress
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes.client.configuration import Configuration
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import load_kube_config

from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings, StoreUnavailable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ENVIRONMENT = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


class CredentialSource:
    """Credentials, renewed by the package as they age, and read anew when they are refused."""

    def __init__(self, load: Callable[[Any], None]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self.configuration = self._load_configuration()

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self.configuration.host)

    def authorization(self) -> Sensitive:
        """The header of that name, "" for none; raises StoreUnavailable if it cannot be had."""
        with self._lock:
            return self._authorization()

    def reload(self, refused: Sensitive) -> bool:
        """Read everything anew, unless that was done since; whether there is something else now."""
        with self._lock:
            if self._authorization() == refused:
                fresh = _or_none(self._load_configuration)
                if fresh is None:
                    return False
                self.configuration.api_key = fresh.api_key
                self.configuration.refresh_api_key_hook = fresh.refresh_api_key_hook
            return self._authorization() != refused

    def _authorization(self) -> Sensitive:
        # The package asks its source again here, a file for one, once a minute.
        settings = _or_none(self.configuration.auth_settings)
        if settings is None:
            raise StoreUnavailable(f"API server {self.server}: our credentials cannot be read")
        return Sensitive(str(settings.get("BearerToken", {}).get("value") or ""))

    def _load_configuration(self) -> Any:
        configuration = Configuration()
        # Proxies of the environment are for others; a kubeconfig may name one.
        configuration.proxy = configuration.no_proxy = None
        self._load(configuration)
        return configuration


def from_pod(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> CredentialSource:
    """What kubelet gives a pod with a service account; raises InvalidSettings elsewhere."""
    problems = [f"{key} is not set" for key in _ENVIRONMENT if not environment.get(key)]
    files = [folder / "token", folder / "ca.crt"]
    problems += [f"{path} is no file" for path in files if not path.is_file()]

    def load(configuration: Any) -> None:
        loader = InClusterConfigLoader(*map(str, files), environ=environment)
        loader.load_and_set(configuration)

    return _validate("credentials of a pod", problems, load)


def from_kubeconfig(path: Path) -> CredentialSource:
    """The current context of a kubeconfig; raises InvalidSettings."""

    def load(configuration: Any) -> None:
        load_kube_config(str(path), client_configuration=configuration, persist_config=False)

    problems = [] if path.is_file() else ["is no file"]
    return _validate(f"kubeconfig {path}", problems, load)


def _validate(subject: str, problems: list[str], load: Callable[[Any], None]) -> CredentialSource:
    access: CredentialSource | None = None if problems else _or_none(lambda: CredentialSource(load))
    if access is None:
        raise InvalidSettings(subject, problems or ["cannot be used"])
    url = urlsplit(access.server)
    if url.scheme != "https" and not _is_loopback(url.hostname or ""):
        problems.append("its server is not reached by https; refresh tokens would be in the clear")
    if not access.configuration.verify_ssl:
        problems.append("insecure-skip-tls-verify is not supported; name the certificate-authority")
    if problems:
        raise InvalidSettings(subject, problems)
    return access


def _or_none(call: Callable[[], Any]) -> Any:
    """The result of a call into the package, None if it fails in whatever way."""
    try:
        return call()
    except Exception:  # noqa: BLE001 - it raises whatever a file or a program makes it raise
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
