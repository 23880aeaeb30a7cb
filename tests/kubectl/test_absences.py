import pytest

from csidriver.kubectl.absences import require_namespace
from csidriver.kubectl.client import Kubectl
from tests.kubectl.stand_in import StandIn


@pytest.mark.parametrize(
    ("stderr", "status"), [("", 0), ("Error from server (Forbidden): no", 1), ("no route", 1)]
)
def test_a_namespace_that_exists_or_may_not_be_read_passes(
    stand_in: StandIn, stderr: str, status: int
) -> None:
    stand_in.answer("namespace/team-a", stdout="namespace/team-a", stderr=stderr, status=status)
    require_namespace(Kubectl(), "team-a")
    assert len(stand_in.calls) == 1
