import pytest

from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.finding import Level
from csidriver.kubectl.doctor.webhook_checks import check_webhook_configuration, check_webhook_pods
from tests.kubectl.doctor.healthy import ABSENT, WEBHOOK_CONFIGURATION, webhook_configuration
from tests.kubectl.stand_in import StandIn

NAMESPACE = "oauth2-csi"
pytestmark = pytest.mark.usefixtures("healthy")


def levels() -> list[tuple[str, Level]]:
    kubectl = Kubectl()
    configuration = list(check_webhook_configuration(kubectl, NAMESPACE))
    found = [*configuration, *check_webhook_pods(kubectl, NAMESPACE)]
    assert all(finding.cure for finding in found if finding.level is not Level.OK)
    return [(finding.check, finding.level) for finding in found]


def test_no_webhook_at_all_is_one_warning(stand_in: StandIn) -> None:
    stand_in.answer(WEBHOOK_CONFIGURATION, stderr=ABSENT, status=1)
    stand_in.answer("deployment", stderr=ABSENT, status=1)
    assert levels() == [("webhook", Level.WARNING)]


def test_a_webhook_without_configuration_is_a_problem(stand_in: StandIn) -> None:
    stand_in.answer(WEBHOOK_CONFIGURATION, stderr=ABSENT, status=1)
    assert levels() == [("webhook", Level.PROBLEM), ("webhook pods", Level.OK)]


def test_a_configuration_without_webhook_is_a_problem(stand_in: StandIn) -> None:
    stand_in.answer("deployment", stderr=ABSENT, status=1)
    assert levels() == [("webhook", Level.OK), ("webhook pods", Level.PROBLEM)]


def test_no_ca_bundle_is_a_problem(stand_in: StandIn) -> None:
    stand_in.answer(WEBHOOK_CONFIGURATION, stdout=webhook_configuration(bundle=""))
    assert levels() == [("webhook", Level.PROBLEM), ("webhook pods", Level.OK)]
