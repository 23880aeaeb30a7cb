from csidriver.core.oauth.request_settings import AssertionSettings, TokenExchangeSettings


def test_a_derived_token_is_limited_unless_the_operator_says_otherwise() -> None:
    settings = TokenExchangeSettings()
    assert (settings.wider_scope, settings.same_audience) == (False, False)


def test_an_assertion_is_a_jwt_unless_configured() -> None:
    wanted = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert AssertionSettings("/run/token").type == wanted
