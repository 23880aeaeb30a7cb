from typing import Any

import pytest

from csidriver.core.broker.caller import reviewed_plugin, token_review
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER_AUDIENCE
from csidriver.core.sensitive import Sensitive
from tests.core.changed import changed

ACCOUNT = "oauth2-csi:oauth2-csi-node"
EXTRA = "authentication.kubernetes.io/"
# As kube-apiserver 1.36 answers for a projected token of the node plugin.
REVIEW: dict[str, Any] = {
    "status": {
        "authenticated": True,
        "audiences": [BROKER_AUDIENCE],
        "user": {
            "username": "system:serviceaccount:oauth2-csi:oauth2-csi-node",
            "uid": "5a1f",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {
                f"{EXTRA}credential-id": ["JTI=1"],
                f"{EXTRA}node-name": ["node-a"],
                f"{EXTRA}node-uid": ["n-1"],
                f"{EXTRA}pod-name": ["oauth2-csi-node-x7x7x"],
                f"{EXTRA}pod-uid": ["p-1"],
            },
        },
    }
}
POD = PodRef("oauth2-csi", "oauth2-csi-node-x7x7x", "p-1")


def test_the_review_asks_for_the_audience_of_the_broker() -> None:
    body = token_review(Sensitive("a.b.c"))
    assert body["spec"] == {"token": "a.b.c", "audiences": ["oauth2-csi-broker"]}


def test_an_empty_token_is_refused_without_a_review() -> None:
    """An API server rejects its review, and denies nothing."""
    with pytest.raises(Denied) as error:
        token_review(Sensitive(""))
    assert error.value.reason is Denial.TOKEN_REFUSED


def test_a_token_of_the_plugin_names_its_node() -> None:
    assert reviewed_plugin(REVIEW, ACCOUNT) == (POD, "node-a")


@pytest.mark.parametrize("names", [None, ["node-a", "node-b"]], ids=["older server", "two"])
def test_a_token_may_name_no_node(names: list[str] | None) -> None:
    review = changed(REVIEW, f"status user extra {EXTRA}node-name", names)
    assert reviewed_plugin(review, ACCOUNT) == (POD, "")


USER = "status user username"
PREFIX = "system:serviceaccount:"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        *(("status", value, Denial.TOKEN_REFUSED) for value in (None, {"error": "expired"})),
        *(("status authenticated", value, Denial.TOKEN_REFUSED) for value in (False, "true")),
        *(
            ("status audiences", value, Denial.WRONG_AUDIENCE)
            for value in (None, [], ["api"], f"x{BROKER_AUDIENCE}")
        ),
        *(
            (USER, value, Denial.WRONG_ACCOUNT)
            for value in (
                f"{PREFIX}alice:oauth2-csi-node",
                f"{PREFIX}oauth2-csi:oauth2-csi-webhook",
            )
        ),
        ("status user", None, Denial.WRONG_ACCOUNT),
        *(
            ("status user extra", value, Denial.UNBOUND_TOKEN)
            for value in (None, {f"{EXTRA}node-name": ["node-a"], f"{EXTRA}node-uid": ["n-1"]})
        ),
        (f"status user extra {EXTRA}pod-uid", [], Denial.UNBOUND_TOKEN),
        (f"status user extra {EXTRA}pod-name", ["a", "b"], Denial.UNBOUND_TOKEN),
    ],
)
def test_other_tokens_are_denied(path: str, value: Any, reason: Denial) -> None:
    with pytest.raises(Denied) as denied:
        reviewed_plugin(changed(REVIEW, path, value), ACCOUNT)
    assert denied.value.reason is reason
