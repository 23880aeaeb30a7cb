from dataclasses import replace
from pathlib import Path

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.existing_secret import ExistingSecret
from csidriver.kubectl.login.issuer_choice import (
    Wanted,
    choose_client,
    choose_issuer,
    explain_client,
)

CERN = Issuer("cern", issuer="https://cern.example", default=True, login=LoginSettings("cli"))
LAB = Issuer("lab", issuer="https://lab.example/", namespaces=("physics",))
CLOSED = Issuer("closed", issuer="https://closed.example", namespaces=("other",))
ISSUERS = Issuers({issuer.name: issuer for issuer in (CERN, LAB, CLOSED)})
EXISTING = ExistingSecret(
    SourceRef("physics", "hello"), "uid", "oauth", "app", Sensitive("s3cret"), "", "", ""
)


def choose(
    wanted: Wanted, existing: ExistingSecret | None = None, issuers: Issuers = ISSUERS
) -> Issuer:
    return choose_issuer(wanted, issuers, "physics", existing)


def test_the_issuer_is_that_of_the_flags_of_the_secret_or_the_default() -> None:
    assert choose(Wanted(issuer="lab"), EXISTING) is LAB
    assert choose(Wanted(), EXISTING) is CERN
    assert choose(Wanted(issuer_url="https://lab.example/")) is LAB
    assert choose(Wanted(), replace(EXISTING, issuer="lab")) is LAB
    assert choose(Wanted(), replace(EXISTING, issuer="lab", bound_issuer="cern")) is LAB
    assert choose(Wanted(issuer="lab"), replace(EXISTING, iss="https://lab.example")) is LAB


def test_an_issuer_of_the_user_is_chosen() -> None:
    found = choose(Wanted(issuer_url="https://own.example"))
    assert found == Issuer("", issuer="https://own.example")
    assert choose(Wanted("mine", "https://own.example")).name == "mine"
    assert choose(Wanted(issuer_url="http://127.0.0.1:8080")).internal


@pytest.mark.parametrize(
    ("wanted", "existing", "text"),
    [
        (Wanted(issuer="lib"), None, "'lib' is not known; choose one of: cern, closed, lab"),
        (Wanted(issuer="closed"), None, r"not open to namespace physics; .*\(cern, lab\)"),
        (Wanted(issuer_url="http://own.example"), None, "--issuer-url must be an https URL$"),
        (Wanted(), {"issuer": "gone"}, "'gone', is not known here; name its address with --issuer"),
        (Wanted(issuer="cern"), {"bound_issuer": "lab"}, "of issuer lab; .*delete secret"),
        (Wanted(issuer="lab"), {"iss": "https://cern.example"}, "of issuer cern"),
    ],
)
def test_other_choices_are_refused_with_the_cure(
    wanted: Wanted, existing: dict[str, str] | None, text: str
) -> None:
    with pytest.raises(LoginFailed, match=text):
        choose(wanted, replace(EXISTING, **existing) if existing else None)  # type: ignore[arg-type]


def test_without_a_default_the_issuers_are_listed() -> None:
    with pytest.raises(LoginFailed, match="choose one with --issuer: lab"):
        choose(Wanted(), issuers=Issuers({"lab": LAB}))
    with pytest.raises(LoginFailed, match="--issuer-url and --client-id"):
        choose(Wanted(), issuers=Issuers())


def test_the_client_is_that_of_the_flag_the_secret_or_the_issuer() -> None:
    public, own = Client("cli", Sensitive("")), Client("app", Sensitive("s3cret"))
    assert choose_client(Wanted(), CERN, None, None) == public
    assert choose_client(Wanted(), CERN, EXISTING, None) == own
    assert choose_client(Wanted(client_id="app"), CERN, EXISTING, None) == own
    assert choose_client(Wanted(client_id="x"), CERN, None, None).client_id == "x"
    assert choose_client(Wanted(), CERN, replace(EXISTING, client_id=""), None) == public
    assert explain_client(public, CERN, replace(EXISTING, client_id="cli")) == ""
    line = explain_client(own, CERN, EXISTING)
    assert line.endswith("and 'cli' does: kubectl delete secret hello -n physics")
    with pytest.raises(LoginFailed, match=r"of client 'app'; .*: kubectl delete secret hello -n p"):
        choose_client(Wanted(client_id="cli"), CERN, EXISTING, None)
    with pytest.raises(LoginFailed, match="no client for issuer lab; give yours with --client-id"):
        choose_client(Wanted(), LAB, None, None)


def test_the_secret_is_that_of_the_file_the_user_or_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    wanted = Wanted(client_secret_file=str(file))
    assert choose_client(wanted, CERN, EXISTING, None).client_secret == Sensitive("of the file")
    asked = choose_client(Wanted(), CERN, EXISTING, Sensitive("typed"))
    assert asked.client_secret == Sensitive("typed")


@pytest.mark.parametrize("content", [b"\n", b"\xff\xfe", b"x" * 5000])
def test_a_bad_file_of_a_secret_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(LoginFailed, match="secret") as failure:
        choose_client(Wanted(client_secret_file=str(file)), CERN, None, None)
    assert "xxx" not in str(failure.value)
