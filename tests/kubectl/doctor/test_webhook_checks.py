import pytest

from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.finding import Level
from csidriver.kubectl.doctor.webhook_checks import check_webhook_configuration, check_webhook_pods
from tests.kubectl.doctor.healthy import ABSENT, WEBHOOK_CONFIGURATION, webhook_configuration
from tests.kubectl.stand_in import StandIn

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
pytestmark = pytest.mark.usefixtures("healthy")


def levels() -> list[tuple[str, Level]]:
    kubectl = Kubectl()
    found = [*check_webhook_configuration(kubectl, "oauth2-csi")]
    found += check_webhook_pods(kubectl, "oauth2-csi")
    assert all(finding.cure for finding in found if finding.level is not OK)
    return [(finding.check, finding.level) for finding in found]


def test_half_a_webhook_is_a_problem_and_none_at_all_a_warning(stand_in: StandIn) -> None:
    stand_in.answer(WEBHOOK_CONFIGURATION, stdout=webhook_configuration(bundle=""))
    assert levels() == [("webhook", PROBLEM), ("webhook pods", OK)]
    stand_in.answer(WEBHOOK_CONFIGURATION, stderr=ABSENT, status=1)
    assert levels() == [("webhook", PROBLEM), ("webhook pods", OK)]
    stand_in.answer("deployment", stderr=ABSENT, status=1)
    assert levels() == [("webhook", WARNING)]
    stand_in.answer(WEBHOOK_CONFIGURATION, stdout=webhook_configuration())
    assert levels() == [("webhook", OK), ("webhook pods", PROBLEM)]
