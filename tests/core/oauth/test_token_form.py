from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.request_settings import TokenExchangeSettings
from csidriver.core.oauth.token_form import Form, token_form
from csidriver.core.sensitive import Sensitive

TOKEN = Sensitive("t0ken")
PLAIN = Issuer("as", "https://as.example")
CONFIGURED = Issuer(
    "as",
    "https://as.example",
    scope="openid",
    params=(("connector_id", "k8s"), ("resource", "https://a"), ("resource", "https://b")),
)


def texts(form: Form) -> list[tuple[str, str]]:
    return [(name, value.reveal()) for name, value in form]


def test_a_refresh_has_what_the_specification_asks_for_and_no_more() -> None:
    fields = [("grant_type", "refresh_token"), ("refresh_token", "t0ken")]
    assert texts(token_form(PLAIN, GrantType.REFRESH_TOKEN, TOKEN)) == fields


def test_scope_and_params_of_the_issuer_go_with_every_request() -> None:
    operator = [("scope", "openid"), *CONFIGURED.params]
    forms = (
        token_form(CONFIGURED, GrantType.REFRESH_TOKEN, TOKEN),
        token_form(CONFIGURED, GrantType.CLIENT_CREDENTIALS),
        token_form(CONFIGURED, GrantType.TOKEN_EXCHANGE, TOKEN),
    )
    assert [texts(form)[-4:] for form in forms] == [operator] * 3


def test_a_value_of_the_source_replaces_all_that_the_issuer_has_for_the_name() -> None:
    params = (("resource", "https://mine"), ("scope", "narrow"))
    form = texts(token_form(CONFIGURED, GrantType.CLIENT_CREDENTIALS, None, params))
    assert form == [("grant_type", "client_credentials"), ("connector_id", "k8s"), *params]


def test_a_token_exchange_names_the_type_of_its_subject() -> None:
    assert texts(token_form(PLAIN, GrantType.TOKEN_EXCHANGE, TOKEN, (("audience", "x"),))) == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "t0ken"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "x"),
    ]
    own = TokenExchangeSettings(subject_token_type="https://as.example/own")
    form = token_form(Issuer("as", token_exchange=own), GrantType.TOKEN_EXCHANGE, TOKEN)
    assert texts(form)[-1] == ("subject_token_type", "https://as.example/own")
