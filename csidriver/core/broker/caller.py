"""The caller of a broker: a node plugin, known by the review of its service account token.

A kubelet gets tokens for pods of its own node only (NodeRestriction), and the API server writes
into a token the pod and the node for which it was made. So the token of a stolen node never names
another node.
"""

from collections.abc import Mapping
from typing import Any

from csidriver.core.broker.denial import Denial, Denied
from csidriver.core.broker.pod_access import PodRef
from csidriver.core.names import BROKER_AUDIENCE
from csidriver.core.sensitive import Sensitive

_EXTRA = "authentication.kubernetes.io/"
_ACCOUNT = "system:serviceaccount:"


def token_review(token: Sensitive) -> dict[str, Any]:
    """Return the body of a TokenReview, which holds the token in the clear; raises Denied."""
    if not token:
        raise Denied(Denial.TOKEN_REFUSED, "the token is empty")
    spec = {"token": token.reveal(), "audiences": [BROKER_AUDIENCE]}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def reviewed_plugin(review: Mapping[str, Any], account: str) -> tuple[PodRef, str]:
    """Return a plugin's pod and node from a TokenReview; raises Denied.

    The node is "" if the API server's release does not tell it. `account` is the node plugin's, as
    `namespace:name`.
    """
    status = review.get("status") or {}
    user = status.get("user") or {}
    if status.get("authenticated") is not True:
        raise Denied(Denial.TOKEN_REFUSED, "the API server does not accept the token")
    audiences = status.get("audiences")
    # An authenticator that knows no audiences leaves them out: that is no proof of ours.
    if not isinstance(audiences, list) or BROKER_AUDIENCE not in audiences:
        raise Denied(Denial.WRONG_AUDIENCE, f"the token is not for {BROKER_AUDIENCE}")
    if user.get("username") != f"{_ACCOUNT}{account}":
        raise Denied(Denial.WRONG_ACCOUNT, f"the token is not of the account {account}")
    extra = user.get("extra") or {}
    pod = PodRef(account.partition(":")[0], _only(extra, "pod-name"), _only(extra, "pod-uid"))
    if not pod.name or not pod.uid:
        raise Denied(Denial.UNBOUND_TOKEN, "the token is bound to no pod")
    return pod, _only(extra, "node-name")


def _only(extra: Mapping[str, Any], key: str) -> str:
    """Return a value that is there exactly once, else ""."""
    values = extra.get(f"{_EXTRA}{key}") or []
    return str(values[0]) if len(values) == 1 else ""
