"""The reasons for which a broker refuses a node, as docs/protocol.md section 9 lists them."""

from enum import Enum

from csidriver.errors import DriverError


class Denial(Enum):
    """A reason, as logs, metrics and nodes spell it."""

    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a name
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_ACCOUNT = "wrong_account"
    UNBOUND_TOKEN = "unbound_token"  # noqa: S105 - a name
    OTHER_NODE_TOKEN = "other_node_token"  # noqa: S105 - a name
    INVALID_REQUEST = "invalid_request"
    TOO_MANY = "too_many"
    POD_ABSENT = "pod_absent"
    POD_REPLACED = "pod_replaced"
    OTHER_NODE = "other_node"
    STATIC_POD = "static_pod"
    POD_ENDED = "pod_ended"
    NOT_IN_POD = "not_in_pod"


class Denied(DriverError):
    """A node that gets nothing, because of `reason`."""

    def __init__(self, reason: Denial, text: str) -> None:
        self.reason = reason
        super().__init__(f"{text} ({reason.value})")
