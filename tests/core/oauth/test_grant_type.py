from csidriver.core.oauth.grant_type import GrantType


def test_all_but_a_refresh_token_may_be_requested_again() -> None:
    repeatable = [grant_type.value for grant_type in GrantType if grant_type.is_repeatable]
    assert repeatable == ["client_credentials", "token-exchange"]


def test_the_form_has_the_name_of_the_specification() -> None:
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    names = [grant_type.parameter for grant_type in GrantType]
    assert names == ["refresh_token", "client_credentials", exchange]
