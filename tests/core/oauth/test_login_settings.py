from typing import Any

import pytest

from csidriver.core.oauth.login_settings import LoginSettings

LOGIN: dict[str, Any] = {
    "clientID": "oauth2-csi",
    "scopes": ["offline_access", "openid"],
    "deviceFlow": False,
    "params": {"prompt": "consent", "access_type": "offline"},
}


def faults_of(raw: Any) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the tests look at its texts
        LoginSettings.parse(raw)
    return list(caught.value.args)


def test_all_keys_are_read_and_rendered() -> None:
    params = (("access_type", "offline"), ("prompt", "consent"))
    wanted = LoginSettings(
        "oauth2-csi", ("offline_access", "openid"), device_flow=False, params=params
    )
    assert LoginSettings.parse(LOGIN) == wanted
    assert wanted.to_json() == LOGIN
    assert faults_of([]) == ["must be a mapping"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clientID": ""}, "clientID must be"),
        ({"scopes": ["openid profile"]}, "scopes must be a list"),
        ({"deviceFlow": "yes"}, "deviceFlow must be"),
        ({"params": ["a=b"]}, "params must be a mapping"),
        ({"params": {"a": 1}}, "params must have"),
        ({"params": {"client_secret": "x"}}, "params must not have client_secret"),
        ({"clientSecret": "x"}, "unknown key 'clientSecret'"),
    ],
)
def test_one_fault_is_one_problem(change: dict[str, Any], says: str) -> None:
    (fault,) = faults_of(LOGIN | change)
    assert says in fault
