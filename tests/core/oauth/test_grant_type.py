from csidriver.core.oauth.grant_type import GrantType


def test_values_are_those_that_users_write() -> None:
    written = {"refresh_token", "client_credentials", "token-exchange"}
    assert {grant_type.value for grant_type in GrantType} == written


def test_all_but_a_refresh_token_may_be_requested_again() -> None:
    repeatable = [grant_type for grant_type in GrantType if grant_type.is_repeatable]
    assert repeatable == [GrantType.CLIENT_CREDENTIALS, GrantType.TOKEN_EXCHANGE]


def test_the_form_has_the_name_of_the_specification() -> None:
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    names = [grant_type.parameter for grant_type in GrantType]
    assert names == ["refresh_token", "client_credentials", exchange]
