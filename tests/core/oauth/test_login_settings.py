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


def test_only_the_client_is_required() -> None:
    assert LoginSettings.parse({"clientID": "c", "deviceFlow": None}) == LoginSettings("c")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clientID": ""}, "clientID must be"),
        ({"clientID": "a\nb"}, "clientID must be"),
        ({"scopes": "openid"}, "scopes must be a list"),
        ({"scopes": ["openid profile"]}, "scopes must be a list"),
        ({"deviceFlow": "yes"}, "deviceFlow must be"),
        ({"params": ["a=b"]}, "params must be a mapping"),
        ({"params": {"a": 1}}, "params must have"),
        ({"params": {"": "b"}}, "params must have"),
        ({"params": {"client_secret": "x"}}, "params must not have client_secret"),
        ({"clientSecret": "x"}, "unknown key 'clientSecret'"),
        ({"devicFlow": True}, "did you mean 'deviceFlow'?"),
    ],
)
def test_one_fault_is_one_problem(change: dict[str, Any], says: str) -> None:
    (fault,) = faults_of(LOGIN | change)
    assert says in fault


def test_all_faults_are_told_at_once() -> None:
    assert len(faults_of({"scopes": 5, "deviceFlow": 5, "params": 5, "zzz": 5})) == 5
    assert faults_of([]) == ["must be a mapping"]
