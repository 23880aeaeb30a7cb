import pytest

from csidriver.core.oauth.failure_reason import Consumption, FailureReason


@pytest.mark.parametrize(
    ("reason", "consumption"),
    [
        (FailureReason.UNREACHABLE, Consumption.NOT_SENT),
        (FailureReason.TLS, Consumption.NOT_SENT),
        (FailureReason.METADATA, Consumption.NOT_SENT),
        (FailureReason.NO_ASSERTION, Consumption.NOT_SENT),
        (FailureReason.CLIENT_KEY, Consumption.NOT_SENT),
        (FailureReason.NO_ANSWER, Consumption.UNKNOWN),
    ],
)
def test_a_failure_without_a_response_proves_something_too(
    reason: FailureReason, consumption: Consumption
) -> None:
    assert reason.consumption is consumption


def test_a_client_that_cannot_be_authenticated_tells_nothing_about_the_server() -> None:
    local = [reason for reason in FailureReason if reason.is_local]
    assert local == [FailureReason.NO_ASSERTION, FailureReason.CLIENT_KEY]
