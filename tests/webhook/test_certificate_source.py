import ssl

import pytest

from csidriver.core.admission.certificates import Certificate
from csidriver.core.sensitive import Sensitive
from csidriver.webhook.certificate_source import (
    ServingCertificate,
    certificate_problems,
    with_cause,
)

SERVED = ServingCertificate(
    Certificate("id", "issuer", expires=100.0, names=frozenset(), pem=""),
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    "",
    Sensitive(""),
)


@pytest.mark.parametrize(
    ("served", "cause", "problems"),
    [
        (None, "", ["there is no certificate yet"]),
        (None, "no rights", ["there is no certificate yet: no rights"]),
        (SERVED, "no rights", []),
    ],
)
def test_a_missing_certificate_is_a_problem(
    served: ServingCertificate | None, cause: str, problems: list[str]
) -> None:
    assert certificate_problems(served, cause, now=99.0) == problems


def test_a_certificate_ends_when_it_expires() -> None:
    assert certificate_problems(SERVED, "", now=100.0) == ["the certificate has expired"]


def test_a_cause_is_told_once() -> None:
    assert with_cause("cannot write: no rights", "no rights") == "cannot write: no rights"
