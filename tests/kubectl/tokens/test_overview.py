"""Cells and objects of tokens, as far as the golden files of `status` do not show them."""

from csidriver.core.names import SourceRef
from csidriver.kubectl.tokens.overview import Overview, age, overviews, remaining
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import KEYS, Token
from tests.kubectl.printed import NEEDS_REAUTH, NOW

REF = SourceRef("team-a", "mail")
TOKEN = Token(REF, "uid", "", {key: NEEDS_REAUTH.get(key, "") for key in KEYS})


def test_an_instant_is_the_time_until_it_or_since() -> None:
    assert (remaining(None, NOW, "due"), age(None, NOW)) == ("<none>", "<none>")
    assert (remaining(NOW - 1, NOW, "due"), age(NOW - 1, NOW)) == ("due", "1s")
    assert (remaining(NOW + 61, NOW, "due"), age(NOW + 61, NOW)) == ("61s", "0s")


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
