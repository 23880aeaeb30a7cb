"""All that a login needs around it: a cluster, a refresher in it, and a user with few rights."""

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from csidriver.core.annotations import STATUS
from csidriver.core.names import DRIVER_NAMESPACE, PUBLIC_ISSUERS
from csidriver.core.sensitive import Sensitive
from tests.cluster.cluster import Cluster
from tests.cluster.installation import config_map
from tests.cluster.user_namespace import UserNamespace
from tests.kubectl.login.login_process import LoginProcess
from tests.processes import running
from tests.waiting import until
from tools.programs import program

# What the command prints.
COMPLETE = r"compare the code:\s+(\S+)"
ADDRESS = r"open this address on any device:\s+(\S+)"
CODE = r"enter the code (\S+)"
_CONFIG_MAPS = f"/api/v1/namespaces/{DRIVER_NAMESPACE}/configmaps"
_PUBLISHED = f"{_CONFIG_MAPS}/{PUBLIC_ISSUERS}"
_USER = "somebody"


class LoginBench(contextlib.ExitStack):
    """A refresher of one issuer, and a user who logs in."""

    def __init__(
        self, cluster: Cluster, folder: Path, namespace: str, issuer: Mapping[str, Any]
    ) -> None:
        super().__init__()
        cluster.reset_namespaces(namespace)
        self._plane = cluster.plane
        self._plane.api("POST", _CONFIG_MAPS, config_map(PUBLIC_ISSUERS))
        self.namespace = namespace
        self.user = UserNamespace(cluster, namespace)
        self._folder = folder
        self._kubeconfig = self._user_with_few_rights()
        configuration = folder / "issuers.yaml"
        configuration.write_text(yaml.safe_dump({"issuers": [dict(issuer)]}))
        flags = cluster.refresher_flags(configuration, folder / "spool")
        self.enter_context(running("refresher", *flags, "--lease-duration=3", "--lease-renew=1"))
        until(lambda: "data" in self._plane.api("GET", _PUBLISHED), "the issuers are published")

    def login(self, name: str, *flags: str) -> LoginProcess:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        environment = {"KUBECTL": str(program("kubectl")), "KUBECONFIG": str(self._kubeconfig)}
        return LoginProcess(folder, [name, f"--namespace={self.namespace}", *flags], environment)

    def secrets(self) -> list[str]:
        found = self._plane.api("GET", f"/api/v1/namespaces/{self.namespace}/secrets")["items"]
        return [each["metadata"]["name"] for each in found]

    def live(self, name: str) -> Sensitive:
        """Return the refresh token that is presented next."""
        grant = self.user.grant(name)
        assert grant is not None
        assert grant.document.refresh_token is not None
        return grant.document.refresh_token

    def assert_it_is_ready_and_rotates(self, name: str) -> None:
        first = self.live(name)
        self.user.refresh_repeatedly(name, 2)
        assert self.user.source(name).annotations[STATUS] == "Ready"
        assert self.live(name) != first

    def _user_with_few_rights(self) -> Path:
        """Return the kubeconfig of a user who may not even list Secrets."""
        where = f"--namespace={self.namespace}"
        rights = "--verb=get,create,patch", "--resource=secrets"
        subject = "--role", _USER, f"--serviceaccount={self.namespace}:{_USER}"
        for words in (("serviceaccount",), ("role", *rights), ("rolebinding", *subject)):
            self._plane.try_kubectl("create", words[0], _USER, *words[1:], where)
        return self._plane.service_account(self.namespace, _USER)


def end_of(login: LoginProcess, status: int = 0) -> str:
    """Wait for the end of a login with this exit status; return all that it said."""
    assert login.wait() == status, login.text
    return login.text
