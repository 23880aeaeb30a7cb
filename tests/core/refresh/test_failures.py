from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.refresh.failures import FAILURE_RULES


def test_every_failure_reason_has_a_rule() -> None:
    assert set(FAILURE_RULES) == set(FailureReason)
