import copy
from typing import Any

import pytest

from csidriver.core.broker.caller import reviewed_plugin, token_review
from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER_AUDIENCE
from csidriver.core.sensitive import Sensitive

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
ABSENT = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    review = copy.deepcopy(REVIEW)
    *parents, last = path.split(" ")
    holder = review
    for key in parents:
        holder = holder[key]
    if value is ABSENT:
        del holder[last]
    else:
        holder[last] = value
    return review


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


def test_an_older_api_server_names_no_node() -> None:
    review = changed(f"status user extra {EXTRA}node-name", ABSENT)
    assert reviewed_plugin(review, ACCOUNT) == (POD, "")


USER = "status user username"
PREFIX = "system:serviceaccount:"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        pytest.param("status", ABSENT, Denial.TOKEN_REFUSED, id="no status"),
        pytest.param("status", {"error": "expired"}, Denial.TOKEN_REFUSED, id="expired"),
        pytest.param("status authenticated", False, Denial.TOKEN_REFUSED, id="refused"),
        pytest.param("status authenticated", "true", Denial.TOKEN_REFUSED, id="not a boolean"),
        pytest.param("status audiences", ABSENT, Denial.WRONG_AUDIENCE, id="no audiences"),
        pytest.param("status audiences", [], Denial.WRONG_AUDIENCE, id="of no audience"),
        pytest.param("status audiences", ["api"], Denial.WRONG_AUDIENCE, id="of another audience"),
        pytest.param(
            "status audiences",
            f"x{BROKER_AUDIENCE}",
            Denial.WRONG_AUDIENCE,
            id="no list",
        ),
        pytest.param(USER, f"{PREFIX}alice:web", Denial.WRONG_ACCOUNT, id="a pod author's"),
        pytest.param(
            USER, f"{PREFIX}alice:oauth2-csi-node", Denial.WRONG_ACCOUNT, id="that name elsewhere"
        ),
        pytest.param(
            USER, f"{PREFIX}oauth2-csi:oauth2-csi-webhook", Denial.WRONG_ACCOUNT, id="other account"
        ),
        pytest.param(USER, "system:node:node-a", Denial.WRONG_ACCOUNT, id="a kubelet's"),
        pytest.param("status user", ABSENT, Denial.WRONG_ACCOUNT, id="no user"),
        pytest.param("status user extra", ABSENT, Denial.UNBOUND_TOKEN, id="unbound"),
        pytest.param(
            "status user extra",
            {f"{EXTRA}node-name": ["node-a"], f"{EXTRA}node-uid": ["n-1"]},
            Denial.UNBOUND_TOKEN,
            id="bound to a Node",
        ),
        pytest.param(
            f"status user extra {EXTRA}pod-uid", [], Denial.UNBOUND_TOKEN, id="pod without uid"
        ),
        pytest.param(
            f"status user extra {EXTRA}pod-name", ["a", "b"], Denial.UNBOUND_TOKEN, id="two pods"
        ),
    ],
)
def test_other_tokens_are_denied(path: str, value: Any, reason: Denial) -> None:
    with pytest.raises(Denied) as denied:
        reviewed_plugin(changed(path, value), ACCOUNT)
    assert denied.value.reason is reason


def test_two_names_of_nodes_are_none() -> None:
    review = changed(f"status user extra {EXTRA}node-name", ["node-a", "node-b"])
    assert reviewed_plugin(review, ACCOUNT) == (POD, "")
