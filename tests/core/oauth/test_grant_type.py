from csidriver.core.oauth.grant_type import GrantType


def test_only_a_refresh_token_may_be_spent() -> None:
    assert [each.value for each in GrantType if not each.is_repeatable] == ["refresh_token"]


def test_a_grant_type_has_the_name_that_users_write() -> None:
    assert GrantType("client_credentials") is GrantType.CLIENT_CREDENTIALS
    assert GrantType("token-exchange") is GrantType.TOKEN_EXCHANGE
