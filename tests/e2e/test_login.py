"""The command line in the hands of a user: log in, watch, and mend what the server has ended."""

import base64
import json
import re
import shlex

import pytest

from csidriver.core.sensitive import Sensitive
from tests.browser import PROGRAMS, Browser
from tests.e2e.cluster import Cluster
from tests.e2e.user_namespace import UserNamespace, inject, pod
from tests.issuer.issuer import ScriptedIssuer
from tests.page_commands import Reader
from tests.peers.login_pages import DEMO
from tools.plugin import BUILD, NAME
from tools.programs import program

pytestmark = pytest.mark.tools(*PROGRAMS)
PATH = "/tmp/oauthtk_0"


@pytest.fixture
def terminal(driver: Cluster) -> Reader:
    """A terminal with kubectl in its PATH, and the file that `make e2e` has made."""
    assert (BUILD / NAME).is_file()
    return Reader(driver.admin.kubeconfig, program("kubectl").parent, BUILD)


def log_in(terminal: Reader, browser: Browser, command: str) -> str:
    """Run a command that logs in, and allow that in the browser; return what it printed."""

    def allow(output: str) -> bool:
        found = re.search(r"http://\S+user_code=\S+", output)
        if found is not None:
            DEMO.decide_device(browser, found[0])
        return found is not None

    return terminal.run_answering(command, allow)


def refresh_token(user: UserNamespace, name: str) -> Sensitive:
    document = json.loads(base64.b64decode(user.get("secret", name)["data"]["oauth"]))
    return Sensitive(document["refresh_token"])


def restarts(cluster: Cluster, *namespaces: str) -> dict[str, int]:
    """Return how often the containers of each pod were started again, by the pod's uid."""
    pods = [pod for name in namespaces for pod in cluster.get("pods", "-n", name)["items"]]
    return {
        pod["metadata"]["uid"]: sum(c["restartCount"] for c in pod["status"]["containerStatuses"])
        for pod in pods
    }


def test_a_revoked_login_is_mended_by_the_command_that_status_names(
    user: UserNamespace, issuer: ScriptedIssuer, terminal: Reader
) -> None:
    where = f"-n {user.name}"
    with Browser() as browser:
        printed = log_in(terminal, browser, f"kubectl oauth2-csi login mine {where}")
        assert f"Secret {user.name}/mine is Ready" in printed
        user.apply(pod("main", inject("mine", 0)))
        user.wait_until_running("main")
        first = user.file("main", PATH)
        before = restarts(user.cluster, user.name, "oauth2-csi")

        def rotates(output: str) -> bool:
            """Return True when two refreshes were seen, of a token that one pod mounts."""
            row = r"(?m)^mine +fast +refresh_token +Ready +\d+s +\d+s +1 "
            return len(re.findall(row, output)) > 2

        table = terminal.run_until(f"kubectl oauth2-csi status mine {where} -w", rotates)
        assert table.startswith("NAME ")
        user.wait_for_change("main", PATH, first)

        issuer.revoke(refresh_token(user, "mine"))
        user.wait_for_status("mine", "NeedsReauth")
        last = user.file("main", PATH)
        table = terminal.run(f"kubectl oauth2-csi status mine {where}")
        named = re.search(
            r"^mine .* NeedsReauth .*; run: (kubectl oauth2-csi .*)$", table, re.MULTILINE
        )
        assert named is not None, table
        assert shlex.split(named[1]) == shlex.split(f"kubectl oauth2-csi login mine {where}")
        printed = log_in(terminal, browser, named[1])
        assert f"Secret {user.name}/mine is Ready" in printed
    mended = user.wait_for_change("main", PATH, last)
    assert issuer.verify(mended.content) is not None
    assert mended.inode == first.inode
    assert restarts(user.cluster, user.name, "oauth2-csi") == before
