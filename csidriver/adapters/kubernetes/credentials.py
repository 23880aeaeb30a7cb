"""Address of the API server and our credentials, as the `kubernetes` package loads them.

No foreign exception leaves this module: those of the package quote files.
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
    """Credentials that the package renews as they age, and that we reload when refused."""

    def __init__(self, load: Callable[[Any], None]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self.configuration = self._load_configuration()

    @property
    def server(self) -> str:
        return str(self.configuration.host)

    def authorization(self) -> Sensitive:
        """Return the header Authorization, "" without a token; raises StoreUnavailable."""
        with self._lock:
            return self._authorization()

    def reload(self, refused: Sensitive) -> bool:
        """Reload everything unless another thread has; return whether the header has changed."""
        with self._lock:
            if self._authorization() == refused:
                fresh = _or_none(self._load_configuration)
                if fresh is None:
                    return False
                self.configuration.api_key = fresh.api_key
                self.configuration.refresh_api_key_hook = fresh.refresh_api_key_hook
            return self._authorization() != refused

    def _authorization(self) -> Sensitive:
        # The package reads its source here, for example a file once a minute.
        settings = _or_none(self.configuration.auth_settings)
        if settings is None:
            raise StoreUnavailable(f"API server {self.server}: our credentials cannot be read")
        return Sensitive(str(settings.get("BearerToken", {}).get("value") or ""))

    def _load_configuration(self) -> Any:
        configuration = Configuration()
        # Only a kubeconfig may name a proxy, not the environment.
        configuration.proxy = configuration.no_proxy = None
        self._load(configuration)
        return configuration


def from_pod(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> CredentialSource:
    """Load the credentials of a pod's service account; raises InvalidSettings."""
    problems = [f"{key} is not set" for key in _ENVIRONMENT if not environment.get(key)]
    files = [folder / "token", folder / "ca.crt"]
    problems += [f"{path} is not a file" for path in files if not path.is_file()]

    def load(configuration: Any) -> None:
        loader = InClusterConfigLoader(*map(str, files), environ=environment)
        loader.load_and_set(configuration)

    return _validate("credentials of a pod", problems, load)


def from_kubeconfig(path: Path) -> CredentialSource:
    """Load the current context of a kubeconfig; raises InvalidSettings."""

    def load(configuration: Any) -> None:
        load_kube_config(str(path), client_configuration=configuration, persist_config=False)

    problems = [] if path.is_file() else ["is not a file"]
    return _validate(f"kubeconfig {path}", problems, load)


def _validate(subject: str, problems: list[str], load: Callable[[Any], None]) -> CredentialSource:
    source: CredentialSource | None = None if problems else _or_none(lambda: CredentialSource(load))
    if source is None:
        raise InvalidSettings(subject, problems or ["cannot be used"])
    url = urlsplit(source.server)
    if url.scheme != "https" and not _is_loopback(url.hostname or ""):
        problems.append("its server must have an https URL; refresh tokens would not be encrypted")
    if not source.configuration.verify_ssl:
        problems.append("insecure-skip-tls-verify is not supported; name the certificate-authority")
    if problems:
        raise InvalidSettings(subject, problems)
    return source


def _or_none(call: Callable[[], Any]) -> Any:
    """Return the result of a call into the package, None if it fails."""
    try:
        return call()
    except Exception:  # noqa: BLE001 - files and programs can cause any exception in the package
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
