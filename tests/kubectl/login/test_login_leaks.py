"""Planted secrets, and every place where a login could show them.

They may stand in the body that kubectl reads, and with --print on standard output. Nowhere else:
not on the terminal, in arguments of a process or in a temporary file.
"""

import json
import signal
from pathlib import Path

import pytest

from tests.kubectl.login.authorization_server import DEVICE, PENDING, AuthorizationServer, fetch
from tests.kubectl.login.fake_cluster import source
from tests.kubectl.login.login_process import LoginProcess
from tests.kubectl.stand_in import StandIn
from tests.leak_detection import leaked, planted_secret


class Rig:
    """A login at a server that hands out planted secrets, into a cluster that a program plays."""

    def __init__(self, server: AuthorizationServer, stand_in: StandIn, folder: Path) -> None:
        kinds = ("at", "rt", "id", "device", "code", "old", "client", "description")
        self.planted = {kind: planted_secret(kind) for kind in kinds}
        self.server, self.stand_in, self.folder = server, stand_in, folder
        names = {"access_token": "at", "refresh_token": "rt", "id_token": "id"}
        self.tokens = {name: self.planted[kind] for name, kind in names.items()}
        device = {"device_code": self.planted["device"], "verification_uri": f"{server.issuer}/go"}
        server.script("/device", (200, DEVICE | device))
        server.code = self.planted["code"]
        entry = {"name": "as", "default": True, "internal": True, "issuer": server.issuer}
        document = json.dumps({"issuers": [entry | {"login": {"clientID": "cli"}}]})
        absent = 'Error from server (NotFound): secrets "hello"'
        stand_in.answer("config", stdout="physics")
        stand_in.answer("can-i", stdout="yes\n")
        stand_in.answer("configmap", stdout={"data": {"issuers.json": document}})
        stand_in.answer("get", "secret", stderr=absent, status=1)
        stand_in.answer("create", "--filename=-", stdout="secret/hello\n")
        stand_in.answer("patch", "secret", stdout="secret/hello\n")

    def start(self, *words: str) -> LoginProcess:
        usual = ("hello", "--redirect-url=http://127.0.0.1:0/callback", "--wait=0")
        return LoginProcess(self.folder, [*usual, *words], {"KUBECTL": str(self.stand_in.path)})

    def leaks(self, login: LoginProcess) -> list[str]:
        """The planted secrets that can be seen somewhere."""
        words = "\n".join(word for call in self.stand_in.calls for word in call.words)
        files = b"\n".join(login.files).decode(errors="replace")
        places = (login.text, words, files)
        return [found for text in places for found in leaked(text, list(self.planted.values()))]


@pytest.fixture
def rig(server: AuthorizationServer, stand_in: StandIn, tmp_path: Path) -> Rig:
    return Rig(server, stand_in, tmp_path)


def test_a_login_in_the_browser_shows_no_secret(rig: Rig) -> None:
    document = json.dumps({"refresh_token": rig.planted["old"]})
    data = {"oauth": document, "clientID": "app", "clientSecret": rig.planted["client"]}
    rig.stand_in.answer("get", "secret", stdout=source(data=data))
    rig.server.script("/token", (200, rig.tokens))
    with rig.start("--web") as login:
        address = login.opened()
        fetch(address)
        assert login.wait() == 0, login.text
        assert rig.leaks(login) == []
    [sent] = rig.server.sent_to("/token")
    assert sent["code"] == rig.planted["code"]
    assert sent["code_verifier"] not in address + login.text
    bodies = "\n".join(call.body for call in rig.stand_in.calls)
    assert leaked(bodies, [rig.planted["rt"]]), "the search sees it where it is"
    assert not leaked(bodies, [rig.planted["old"]])


def test_a_printed_secret_is_on_standard_output_alone(rig: Rig, tmp_path: Path) -> None:
    rig.server.script("/token", (200, rig.tokens))
    file = tmp_path / "client"
    file.write_text(rig.planted["client"])
    client = ("--client-id=app", f"--client-secret-file={file}")
    with rig.start("--device", "--print", *client) as login:
        assert login.wait() == 0, login.text
        assert "ABCD-EFGH" in login.text
        printed = (tmp_path / "stdout").read_text()
        (tmp_path / "stdout").write_text("")
        assert rig.leaks(login) == []
    assert len(leaked(printed, [rig.planted["rt"], rig.planted["client"]])) == 2


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, '{{"error": "invalid_grant", "error_description": "{description}"}}'),
        (200, '{{"access_token": "{at}", "refresh_token": "{rt}", "token_type": "{description}"}}'),
        (403, "{at}"),
    ],
    ids=["refused", "of another type", "no JSON"],
)
def test_a_login_that_fails_shows_no_secret(rig: Rig, status: int, reply: str) -> None:
    rig.server.script("/token", (status, reply.format(**rig.planted).encode()))
    with rig.start("--device") as login:
        assert login.wait() == 1, login.text
        assert login.text.count("error: ") == 1
        assert rig.leaks(login) == []
    bodies = [call for call in rig.stand_in.calls if call.body]
    assert ["--dry-run=server" in call.words for call in bodies] == [True], "nothing was written"


def test_an_interrupted_login_says_so_and_shows_no_secret(rig: Rig) -> None:
    rig.server.script("/token", *[PENDING] * 99)
    with rig.start("--device") as login:
        login.find("(Waiting)")
        login.process.send_signal(signal.SIGINT)
        assert login.wait() == 130
        assert login.text.endswith("Interrupted; no Secret was changed.\n")
        assert rig.leaks(login) == []


def test_a_refusal_of_the_cluster_shows_no_secret(rig: Rig) -> None:
    rig.server.script("/token", (200, rig.tokens))
    quoting = f'Error from server (Forbidden): "{rig.planted["rt"]}" is not allowed'
    rig.stand_in.answer("create", "--filename=-", stderr=quoting, status=1)
    rig.stand_in.answer("create", "--dry-run=server")
    with rig.start("--device") as login:
        assert login.wait() == 1
        assert "the login succeeded, but Secret physics/hello was not written" in login.text
        assert rig.leaks(login) == []
