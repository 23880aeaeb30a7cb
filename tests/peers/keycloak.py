"""Keycloak, as a process on loopback with everything in memory, and realms made by its REST API."""

import contextlib
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from tests.peers.login_pages import USER
from tests.reserved_port import reserve_port
from tests.waiting import until
from tools.programs import find

CLIENT = Client("app", Sensitive("secret of app"))
# A client without a secret.
PUBLIC = "kubectl"
_ADMIN = "admin-of-a-test"
# Seconds. A start takes 20 on an idle machine.
_START = 600.0
_REQUEST = 120.0
_TOKEN = "/protocol/openid-connect/token"


@dataclass(frozen=True, slots=True)
class Realm:
    """A realm with one user and one client; `url` is its issuer."""

    url: str

    @property
    def issuer(self) -> Issuer:
        return Issuer("peer", issuer=self.url, internal=True)

    def seed(
        self, *, offline: bool = False, client: Client = CLIENT, scope: str = "openid"
    ) -> Sensitive:
        form = {
            "grant_type": "password",
            "client_id": client.client_id,
            "client_secret": client.client_secret.reveal(),
            "username": USER,
            "password": USER,
            "scope": f"{scope} offline_access" if offline else scope,
        }
        answer = _send("POST", self.url + _TOKEN, data=form)
        assert answer.ok, answer.text
        return Sensitive(answer.json()["refresh_token"])


class Keycloak(contextlib.ExitStack):
    """A running server; `trusted` is a file with certificates that it trusts."""

    def __init__(self, trusted: Path | None = None) -> None:
        super().__init__()
        home = find("keycloak")
        assert home is not None, "keycloak is missing: python -m tools keycloak"
        port = self.enter_context(reserve_port()).getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        folder = Path(self.enter_context(tempfile.TemporaryDirectory()))
        environment = {n: v for n, v in os.environ.items() if "proxy" not in n.lower()}
        environment |= {
            "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": _ADMIN,
        }
        flags = ["--http-enabled=true", "--hostname-strict=false", "--http-host=127.0.0.1"]
        flags += [f"--http-port={port}", "--cache=local"]
        flags += [f"--truststore-paths={trusted}"] if trusted else []
        self._log = folder / "log"
        with self._log.open("wb") as log:
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
            until(self._answers, "keycloak answers", _START, pause=0.2)
        except BaseException as error:
            error.add_note(self._end_of_log())
            self.close()
            raise

    def realm(self, name: str, **settings: Any) -> Realm:
        """A new realm that rotates refresh tokens; `settings` are those of its representation."""
        login = {
            # Of every port, as of loopback.
            "redirectUris": ["http://127.0.0.1/*"],
            "attributes": {"oauth2.device.authorization.grant.enabled": "true"},
            "optionalClientScopes": ["offline_access"],
        }
        secret = CLIENT.client_secret.reveal()
        client = {"clientId": CLIENT.client_id, "secret": secret, "directAccessGrantsEnabled": True}
        public = {"clientId": PUBLIC, "publicClient": True, "consentRequired": True}
        clients = [client | login, public | login]
        user = {
            "username": USER,
            "enabled": True,
            "email": f"{USER}@example.org",
            "firstName": USER,
            "lastName": USER,
            "credentials": [{"type": "password", "value": USER}],
            "realmRoles": ["offline_access"],
        }
        realm = {"realm": name, "enabled": True, "clients": clients, "users": [user]}
        realm |= {"sslRequired": "none", "revokeRefreshToken": True, "accessTokenLifespan": 60}
        self.administer("POST", "/admin/realms", realm | settings)
        return Realm(f"{self.url}/realms/{name}")

    def withdraw_consents(self, realm: str) -> None:
        """Withdraw all that the user has allowed to clients, which ends their offline sessions."""
        (user,) = self.administer("GET", f"/admin/realms/{realm}/users")
        consents = f"/admin/realms/{realm}/users/{user['id']}/consents"
        for consent in self.administer("GET", consents):
            self.administer("DELETE", f"{consents}/{consent['clientId']}")

    def change_client(self, realm: str, client_id: str, **changes: Any) -> None:
        clients = f"/admin/realms/{realm}/clients"
        (found,) = self.administer("GET", f"{clients}?clientId={client_id}")
        self.administer("PUT", f"{clients}/{found['id']}", found | changes)

    def log_out(self, realm: str) -> None:
        (user,) = self.administer("GET", f"/admin/realms/{realm}/users")
        self.administer("POST", f"/admin/realms/{realm}/users/{user['id']}/logout")

    def administer(self, method: str, path: str, body: Any = None) -> Any:
        form = {"grant_type": "password", "client_id": "admin-cli"}
        form |= {"username": _ADMIN, "password": _ADMIN}
        login = _send("POST", f"{self.url}/realms/master{_TOKEN}", data=form)
        assert login.ok, login.text
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        answer = _send(method, self.url + path, json=body, headers=headers)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def check_alive(self) -> None:
        assert self._process.poll() is None, f"keycloak ended:\n{self._end_of_log()}"

    def _answers(self) -> bool:
        assert self._process.poll() is None, "keycloak ended"
        try:
            return bool(_send("GET", f"{self.url}/realms/master").ok)
        except (requests.ConnectionError, requests.Timeout):
            return False

    def _end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _send(method: str, url: str, **content: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=_REQUEST, **content)
