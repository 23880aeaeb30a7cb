"""Cells and objects of tokens, as far as the golden files of `status` do not show them."""

import pytest

from csidriver.core.names import SourceRef
from csidriver.kubectl.tokens.overview import Overview, age, overviews, remaining
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import KEYS, Token
from tests.kubectl.printed import NEEDS_REAUTH, NOW

REF = SourceRef("team-a", "mail")
TOKEN = Token(REF, "uid", "", {key: NEEDS_REAUTH.get(key, "") for key in KEYS})


@pytest.mark.parametrize(
    ("instant", "until", "since"),
    [
        (None, "<none>", "<none>"),
        (NOW - 9, "due", "9s"),
        (NOW + 61, "61s", "0s"),
        (NOW - 1, "due", "1s"),
    ],
)
def test_an_instant_is_the_time_until_it_or_since(
    instant: float | None, until: str, since: str
) -> None:
    assert remaining(instant, NOW, "due") == until
    assert age(instant, NOW) == since


def test_pods_that_mount_are_counted_once() -> None:
    mounted = [("b", "one", "Running"), ("a", "one", "Pending"), ("a", "two", "Running")]
    mounted += [("ended", "one", "Succeeded"), ("failed", "one", "Failed")]
    volumes = [PodVolume(REF, *each, "node", "token", ()) for each in mounted]
    assert overviews([TOKEN], volumes) == [Overview(TOKEN, ["a", "b"])]
    assert overviews([TOKEN], None) == [Overview(TOKEN, None)]


def test_an_object_leaves_out_what_is_unknown() -> None:
    status = Overview(TOKEN, None).to_object()["status"]
    always = {"status", "message", "issuer", "grantType", "warnings"}
    assert status.keys() == always | {"expiresAt", "refreshedAt"}
