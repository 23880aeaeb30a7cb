import base64

import pytest

from csidriver.kubectl.errors import AlreadyExists, Conflict, Forbidden, KubectlFailed, NotFound
from csidriver.kubectl.failures import to_error

NEEDLE = "needle-4711-refresh-token"
ENCODED = base64.b64encode(NEEDLE.encode()).decode()


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ('(NotFound): secrets "a" not found', NotFound, 'secrets "a" not found'),
        ("(Forbidden): no", Forbidden, "no; ask for this right where your cluster is administered"),
        ("(AlreadyExists): b", AlreadyExists, "b; take another name, or delete it first"),
        ("(Conflict): c", Conflict, "c; run the command again"),
        ("(Invalid): d", KubectlFailed, "d"),
    ],
)
def test_a_refusal_of_the_server_has_its_own_error(
    text: str, kind: type[Exception], shown: str
) -> None:
    error = to_error(f"Error from server {text}\n")
    assert (type(error), str(error)) == (kind, shown)


def test_warnings_and_logs_are_not_the_reason() -> None:
    text = 'Warning: v1 is old\nE1128 21:10:06.1 1 memcache.go:265] "x"\nerror: no route to host\n'
    manifest = {"stringData": {"oauth": NEEDLE}, "data": None}
    assert str(to_error(text, manifest)) == "no route to host"
    assert str(to_error("")) == "kubectl failed without a message"
    assert len(str(to_error("error: " + "x" * 5000))) < 700


@pytest.mark.parametrize("data", [{"data": {"a": ENCODED}}, {"stringData": {"a": NEEDLE}}])
@pytest.mark.parametrize("quoted", [NEEDLE, NEEDLE[3:14]])
def test_a_message_that_quotes_data_is_withheld(data: dict[str, object], quoted: str) -> None:
    error = to_error(f"Error from server (Invalid): bad value {quoted}", data | {"kind": "Secret"})
    assert str(error) == "refused (Invalid); its message is not shown: it quotes data"
    assert ENCODED not in str(to_error(f"error: {ENCODED}", {"data": {"oauth": ENCODED}}))
