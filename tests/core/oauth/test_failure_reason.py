from csidriver.core.oauth.failure_reason import Consumption, FailureReason


def test_only_some_failures_leave_open_whether_the_refresh_token_was_consumed() -> None:
    of_none = (FailureReason.UNREACHABLE, FailureReason.TLS, FailureReason.METADATA)
    local = (FailureReason.NO_ASSERTION, FailureReason.CLIENT_KEY)
    unknown = (FailureReason.NO_ANSWER, FailureReason.SERVER_ERROR, FailureReason.BAD_REPLY)
    found = {reason: reason.consumption for reason in FailureReason}
    wanted = dict.fromkeys(FailureReason, Consumption.NOT_CONSUMED)
    wanted |= dict.fromkeys((*of_none, *local), Consumption.NOT_SENT)
    assert found == wanted | dict.fromkeys(unknown, Consumption.UNKNOWN)
    assert [reason for reason in FailureReason if reason.is_local] == [*local]
