"""Issuers: the configuration of the authorization servers that the operator trusts."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from csidriver.core.oauth.endpoint_url import is_host, validate_endpoint
from csidriver.core.oauth.issuer_values import convert, key_of, parse_fields
from csidriver.core.oauth.login_settings import LoginSettings
from csidriver.core.oauth.request_settings import (
    ISSUER_AUDIENCE,
    PARSERS,
    AssertionSettings,
    OperatorClient,
    Params,
    PrivateKeySettings,
    TokenExchangeSettings,
)
from csidriver.errors import InvalidSettings

CLIENT_AUTH = ("basic", "basic_raw", "post", "none", "private_key_jwt", "assertion")
STRICT = 0.0
UNLIMITED = float("inf")
# Seconds; a server that reports a longer lifetime is not believed.
MAX_LIFETIME = 400 * 86400.0
# Half of the refresher's workers, so that a slow server does not block the others.
MAX_IN_FLIGHT = 16
_NO_KEY, _NO_ASSERTION = PrivateKeySettings(), AssertionSettings()
_LIMITED_EXCHANGE = TokenExchangeSettings()


@dataclass(frozen=True, slots=True)
class Issuer:
    """One configured issuer. Durations are in seconds.

    `reuse` is the time after the first send in which the same refresh token may be sent again if
    the outcome is unknown: 0 is `strict`, infinity `unlimited` (the server never rotates).
    Fingerprints depend on the names of the fields and their order.
    """

    name: str = ""
    issuer: str = ""
    token_endpoint: str = ""
    default: bool = False
    client_auth: str = ""
    reuse: float = STRICT
    ca_file: str = ""
    internal: bool = False
    namespaces: tuple[str, ...] = ()
    min_lead: float = 0.0
    default_lifetime: float = 300.0
    rate: float = 50.0
    in_flight: int = MAX_IN_FLIGHT
    scope: str = ""
    proxy: str = ""
    endpoint_hosts: tuple[str, ...] = ()
    introspection_endpoint: str = ""
    access_token_issuers: tuple[str, ...] = ()
    login: LoginSettings | None = None
    params: Params = field(default=(), repr=False)
    allowed_params: tuple[str, ...] = ()
    private_key: PrivateKeySettings = _NO_KEY
    assertion: AssertionSettings = _NO_ASSERTION
    assertion_audience: str = ISSUER_AUDIENCE
    clients: tuple[OperatorClient, ...] = ()
    token_exchange: TokenExchangeSettings = _LIMITED_EXCHANGE

    @property
    def identifier(self) -> str:
        """Names the server: a refresh token is never sent to another one."""
        return self.issuer or self.token_endpoint

    def is_open_to(self, namespace: str) -> bool:
        """Return True if tokens of this namespace may be of the issuer."""
        return not self.namespaces or namespace in self.namespaces

    @property
    def supports_introspection(self) -> bool:
        """The issuer has an introspection endpoint, or its metadata may name one."""
        return bool(self.introspection_endpoint or not self.token_endpoint)

    @property
    def has_operator_clients(self) -> bool:
        """Its clients have no secret of their own: the operator lists who may use which."""
        return bool(self.assertion.file or self.private_key.file)

    @property
    def fingerprint(self) -> str:
        """Changes with the configuration but `login`, which makes earlier refusals obsolete.

        Grants store it.
        """
        values = ", ".join(
            f"{each.name}={value!r}"
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default or each.name not in _NOT_AT_FIRST
            if each.name != "login"
        )
        return hashlib.sha256(f"Issuer({values})".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Issuers:
    """All issuers of a deployment."""

    by_name: Mapping[str, Issuer] = field(default_factory=dict)

    @classmethod
    def parse(cls, documents: Iterable[tuple[str, Any]]) -> "Issuers":
        """Merge pairs of file name and decoded YAML; raise InvalidSettings with all problems."""
        problems: list[str] = []
        found: dict[str, Issuer] = {}
        for origin, document in documents:
            for issuer in _issuers_of(origin, document, problems):
                if issuer.name and issuer.name in found:
                    problems.append(f"{origin}: issuer {issuer.name!r} is configured twice")
                found[issuer.name] = issuer
        defaults = sorted(issuer.name for issuer in found.values() if issuer.default)
        if len(defaults) > 1:
            problems.append(f"more than one default issuer: {', '.join(defaults)}")
        if problems:
            raise InvalidSettings("issuers", problems)
        return cls(found)


# The configuration key of each field.
KEYS = {each.name: key_of(each.name) for each in fields(Issuer)}
# Fields that the first fingerprints did not have: unset they change none.
_NOT_AT_FIRST = {"access_token_issuers", "assertion_audience", *PARSERS}


def _issuers_of(origin: str, document: Any, problems: list[str]) -> list[Issuer]:
    entries = document.get("issuers") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        problems.append(f"{origin}: has no list `issuers`")
        return []
    parsed = []
    for number, entry in enumerate(entries):
        where = f"{origin}: issuers[{number}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: is not a mapping")
            continue
        faults: list[str] = []
        issuer = Issuer(**parse_fields(Issuer, entry, _PARSERS, faults))
        problems += [f"{where}: {fault}" for fault in (*faults, *_problems(issuer))]
        parsed.append(issuer)
    return parsed


def _reuse(raw: Any) -> float:
    if raw == "strict":
        return STRICT
    if raw == "unlimited":
        return UNLIMITED
    window = raw.get("window") if isinstance(raw, Mapping) and set(raw) == {"window"} else None
    if isinstance(window, int | float) and not isinstance(window, bool) and 0 < window < UNLIMITED:
        return float(window)
    raise ValueError("must be strict, unlimited or {window: SECONDS}")


def _hosts(raw: Any) -> tuple[str, ...]:
    hosts: tuple[str, ...] = convert((), raw)
    if not all(map(is_host, hosts)):
        raise ValueError("must be a list of hosts, or of host:port")
    return hosts


_PARSERS = {
    **PARSERS,
    "reuse": _reuse,
    "endpoint_hosts": _hosts,
    "login": LoginSettings.parse,
}


def _problems(issuer: Issuer) -> list[str]:
    problems = [] if issuer.name else ["name is missing"]
    if not issuer.identifier:
        problems.append("needs issuer or tokenEndpoint")
    if issuer.client_auth and issuer.client_auth not in CLIENT_AUTH:
        problems.append(f"clientAuth must be one of {', '.join(CLIENT_AUTH)}")
    problems += _client_auth_problems(issuer)
    if issuer.introspection_endpoint and not issuer.token_endpoint:
        problems.append("introspectionEndpoint goes with tokenEndpoint only")
    problems += [
        f"{KEYS[name]} must be above 0"
        for name in ("rate", "in_flight", "default_lifetime")
        if not getattr(issuer, name) > 0
    ]
    if issuer.in_flight > MAX_IN_FLIGHT:
        problems.append(
            f"inFlight must be at most {MAX_IN_FLIGHT}, half of the refresher's workers"
        )
    if issuer.default_lifetime > MAX_LIFETIME:
        problems.append(f"defaultLifetime must be at most {MAX_LIFETIME:.0f}")
    for name in ("issuer", "token_endpoint", "introspection_endpoint"):
        url = getattr(issuer, name)
        problem = validate_endpoint(url, internal=issuer.internal) if url else ""
        if problem:
            problems.append(f"{KEYS[name]} {problem}")
    return problems


def _client_auth_problems(issuer: Issuer) -> list[str]:
    signs, asserts = issuer.client_auth == "private_key_jwt", issuer.client_auth == "assertion"
    has_key, has_file = issuer.private_key != _NO_KEY, bool(issuer.assertion.file)
    is_to_issuer = issuer.assertion_audience == ISSUER_AUDIENCE
    checks = {
        "privateKey goes with clientAuth: private_key_jwt only": has_key and not signs,
        "assertion.file and clientAuth: assertion need each other": asserts != has_file,
        "assertionAudience goes with clientAuth: private_key_jwt only": not (is_to_issuer or signs),
        "private_key_jwt needs issuer or assertionAudience": signs
        and is_to_issuer
        and not issuer.issuer,
        "clients goes with assertion, or with a file of privateKey, only": issuer.clients
        and not issuer.has_operator_clients,
    }
    return [problem for problem, is_found in checks.items() if is_found]
