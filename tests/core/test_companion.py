from dataclasses import replace
from typing import Any

import pytest

from csidriver.core import annotations, names
from csidriver.core.companion import MAX_ACCESS_TOKEN, AccessToken, Companion, parse_for_node
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import InvalidSecret

REF = SourceRef("physics", "hello-token")
TOKEN = AccessToken(Sensitive("at-secret"), "Bearer", 1000.0, 4600.0, 1000.125)
COMPANION = Companion(REF, "u1", 7, Status.READY, "all is well", 3000.0, TOKEN)


def stored(companion: Companion) -> Secret:
    return Secret(
        names.TOKENS_NAMESPACE,
        REF.companion,
        type=annotations.COMPANION_SECRET_TYPE,
        annotations=companion.annotations(),
        data=companion.data(),
    )


@pytest.mark.parametrize(
    "companion",
    [
        pytest.param(COMPANION, id="ready"),
        pytest.param(replace(COMPANION, token=None, status=Status.PENDING), id="pending"),
        pytest.param(replace(COMPANION, message="", next_refresh=0.0), id="nothing planned"),
        pytest.param(replace(COMPANION, status=Status.NEEDS_REAUTH, message="é;\n"), id="message"),
    ],
)
def test_round_trip_through_a_manifest(companion: Companion) -> None:
    read = Secret.from_manifest(stored(companion).to_manifest())
    assert Companion.from_secret(read) == companion


def with_annotation(key: str, value: str | None) -> Secret:
    values: dict[str, Any] = COMPANION.annotations() | {key: value}
    return replace(
        stored(COMPANION), annotations={k: v for k, v in values.items() if v is not None}
    )


def with_data(key: str, value: str | None) -> Secret:
    data: dict[str, Any] = COMPANION.data() | {key: None if value is None else Sensitive(value)}
    return replace(stored(COMPANION), data={k: v for k, v in data.items() if v is not None})


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(replace(stored(COMPANION), type="Opaque"), id="type"),
        *(with_annotation(key, None) for key in (annotations.SOURCE_UID, annotations.GENERATION)),
        with_annotation(annotations.SOURCE_NAME, None),
        pytest.param(with_annotation(annotations.GENERATION, "at-secret"), id="generation"),
        pytest.param(with_annotation(annotations.STATUS, "at-secret"), id="status"),
        pytest.param(with_data("token_type", None), id="no token type"),
        pytest.param(with_data("issued_at", None), id="no instant"),
        pytest.param(with_data("expires_at", "at-secret"), id="instant"),
        pytest.param(with_data("expires_at", "nan"), id="instant nan"),
    ],
)
def test_a_damaged_one_is_refused_without_quoting(damaged: Secret) -> None:
    with pytest.raises(InvalidSecret) as caught:
        Companion.from_secret(damaged)
    assert "at-secret" not in str(caught.value)
    assert REF.companion in str(caught.value)


def test_a_node_takes_a_token_as_large_as_we_write_and_no_larger() -> None:
    largest = with_data("access_token", "x" * MAX_ACCESS_TOKEN)
    assert parse_for_node(largest).token is not None
    for larger in (
        with_data("access_token", "x" * (MAX_ACCESS_TOKEN + 1)),
        with_data("token_type", "x" * 65),
        with_data("token_type", "Bearer\n"),
    ):
        with pytest.raises(InvalidSecret, match=r"32 KiB.*run: kubectl oauth2-csi login"):
            parse_for_node(larger)
        assert Companion.from_secret(larger).token is not None, "the refresher replaces it"
