"""Keycloak, as a process on loopback with everything in memory, and realms made by its REST API."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.refresher.bench import until
from tools.programs import find

TIMEOUT = 120.0
CLIENT = Client("app", Sensitive("secret of app"))
_ADMIN = "admin-of-a-test"
_USER = "alice"
# Below the ports the kernel gives to clients.
_PORTS = range(20000, 30000)
_TOKEN = "/protocol/openid-connect/token"


@dataclass(frozen=True, slots=True)
class Realm:
    """A realm with one user and one client; `url` is its issuer."""

    url: str

    @property
    def issuer(self) -> Issuer:
        return Issuer("peer", issuer=self.url, internal=True)

    def seed(self, *, offline: bool = False) -> Sensitive:
        """A first refresh token, as after a login."""
        secret = CLIENT.client_secret.reveal()
        form = {
            "grant_type": "password",
            "client_id": CLIENT.client_id,
            "client_secret": secret,
            "username": _USER,
            "password": _USER,
            "scope": "openid offline_access" if offline else "openid",
        }
        answer = _session().post(self.url + _TOKEN, data=form, timeout=30)
        assert answer.ok, answer.text
        return Sensitive(answer.json()["refresh_token"])


class Keycloak(contextlib.ExitStack):
    """A running server."""

    def __init__(self) -> None:
        super().__init__()
        home = find("keycloak")
        assert home is not None, "keycloak is missing: python -m tools keycloak"
        port = next(p for p in random.SystemRandom().sample(_PORTS, 50) if _is_free(p))
        self.url = f"http://127.0.0.1:{port}"
        folder = Path(self.enter_context(tempfile.TemporaryDirectory()))
        environment = {n: v for n, v in os.environ.items() if "proxy" not in n.lower()}
        environment |= {
            "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": _ADMIN,
        }
        flags = ["--http-enabled=true", "--hostname-strict=false", "--http-host=127.0.0.1"]
        flags += [f"--http-port={port}", "--cache=local"]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                [f"{home}/bin/kc.sh", "start", "--optimized", *flags],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,  # a script, whose child is the server
            )
        self.callback(self._end)
        try:
            until(self._answers, "keycloak answers", TIMEOUT)
        except BaseException as error:
            error.add_note((folder / "log").read_text(errors="replace")[-4000:])
            self.close()
            raise

    def realm(self, name: str, **settings: Any) -> Realm:
        """A new realm that rotates refresh tokens; `settings` are those of its representation."""
        client = {
            "clientId": CLIENT.client_id,
            "secret": CLIENT.client_secret.reveal(),
            "directAccessGrantsEnabled": True,
            "optionalClientScopes": ["offline_access"],
        }
        user = {
            "username": _USER,
            "enabled": True,
            "email": f"{_USER}@example.org",
            "firstName": _USER,
            "lastName": _USER,
            "credentials": [{"type": "password", "value": _USER}],
            "realmRoles": ["offline_access"],
        }
        realm = {"realm": name, "enabled": True, "clients": [client], "users": [user]}
        realm |= {"sslRequired": "none", "revokeRefreshToken": True, "accessTokenLifespan": 60}
        self.administer("POST", "/admin/realms", realm | settings)
        return Realm(f"{self.url}/realms/{name}")

    def administer(self, method: str, path: str, body: Any = None) -> Any:
        """One request as administrator."""
        form = {"grant_type": "password", "client_id": "admin-cli"}
        form |= {"username": _ADMIN, "password": _ADMIN}
        token = _session().post(f"{self.url}/realms/master{_TOKEN}", data=form, timeout=30).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        answer = _session().request(method, self.url + path, json=body, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def _answers(self) -> bool:
        assert self._process.poll() is None, "keycloak ended"
        try:
            return bool(_session().get(f"{self.url}/realms/master", timeout=30).ok)
        except requests.ConnectionError:
            return False

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
