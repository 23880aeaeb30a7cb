from typing import Any

import pytest

from csidriver.core.oauth.login_settings import LoginSettings

LOGIN: dict[str, Any] = {
    "clientID": "oauth2-csi",
    "scopes": ["offline_access", "openid"],
    "deviceFlow": False,
    "params": {"prompt": "consent", "access_type": "offline"},
}


def parse(raw: Any) -> tuple[LoginSettings | None, list[str]]:
    problems: list[str] = []
    return LoginSettings.parse("there", raw, problems), problems


def test_all_keys_are_read_and_rendered() -> None:
    settings, problems = parse(LOGIN)
    params = (("access_type", "offline"), ("prompt", "consent"))
    wanted = LoginSettings(
        "oauth2-csi", ("offline_access", "openid"), device_flow=False, params=params
    )
    assert (settings, problems) == (wanted, [])
    assert wanted.to_json() == LOGIN


def test_only_the_client_is_required() -> None:
    assert parse({"clientID": "c", "deviceFlow": None}) == (LoginSettings("c"), [])
    assert parse(None) == (None, [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clientID": ""}, "clientID must be"),
        ({"clientID": None}, "clientID must be"),
        ({"clientID": "a\nb"}, "clientID must be"),
        ({"scopes": "openid"}, "scopes must be a list"),
        ({"scopes": ["openid profile"]}, "scopes must be a list"),
        ({"scopes": [1]}, "scopes must be a list"),
        ({"deviceFlow": "yes"}, "deviceFlow must be"),
        ({"params": ["a=b"]}, "params must be a mapping"),
        ({"params": {"a": 1}}, "params must have"),
        ({"params": {"a": "b\r\n"}}, "params must have"),
        ({"params": {"": "b"}}, "params must have"),
        ({"params": {"client_secret": "x"}}, "params must not have client_secret"),
        ({"params": {"redirect_uri": "x"}}, "params must not have redirect_uri"),
        ({"clientSecret": "x"}, "unknown key 'clientSecret'"),
        ({"devicFlow": True}, "did you mean 'deviceFlow'?"),
    ],
)
def test_one_fault_is_one_problem(change: dict[str, Any], says: str) -> None:
    settings, (problem,) = parse(LOGIN | change)
    assert settings is None
    assert problem.startswith("there: login: ")
    assert says in problem


def test_all_faults_are_told_at_once() -> None:
    _, problems = parse({"scopes": 5, "deviceFlow": 5, "params": 5, "zzz": 5})
    assert len(problems) == 5
    assert parse([]) == (None, ["there: login must be a mapping"])
