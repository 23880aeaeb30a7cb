import pytest

from csidriver.core.names import SourceRef
from csidriver.kubectl.absences import absent_secret, require_namespace
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import NotFound
from tests.kubectl.stand_in import StandIn


def test_a_namespace_that_does_not_exist_is_named(stand_in: StandIn) -> None:
    stderr = 'Error from server (NotFound): namespaces "tutorail" not found\n'
    stand_in.answer("get", "namespace/tutorail", stderr=stderr, status=1)
    with pytest.raises(NotFound) as failure:
        require_namespace(Kubectl(), "tutorail")
    text = "there is no namespace tutorail; kubectl get namespaces lists them"
    assert str(failure.value) == text


@pytest.mark.parametrize(
    ("stderr", "status"), [("", 0), ("Error from server (Forbidden): no", 1), ("no route", 1)]
)
def test_one_that_exists_or_may_not_be_read_passes(
    stand_in: StandIn, stderr: str, status: int
) -> None:
    stand_in.answer("namespace/team-a", stdout="namespace/team-a", stderr=stderr, status=status)
    require_namespace(Kubectl(), "team-a")
    assert len(stand_in.calls) == 1


def test_an_absent_secret_may_be_elsewhere() -> None:
    assert str(absent_secret(SourceRef("team-a", "mail"))) == (
        "there is no Secret mail in namespace team-a; if it is in another one: "
        "kubectl oauth2-csi status -A; to make one here: kubectl oauth2-csi login mail -n team-a"
    )
